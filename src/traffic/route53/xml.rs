//! Route 53's XML: listings, answers to changes, errors, and changes to send.
//!
//! Pure. Must never take a part of an answer that it does not know for nothing: a set that is not understood cannot be deleted exactly.

use std::fmt::Write as _;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::super::hosted::sets::RecordSet;

/// An element: its name, its text, its children.
#[derive(Debug, Default)]
pub(super) struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

/// The deepest that elements are nested in anything that is read.
const DEPTH: usize = 20;

impl Element {
    /// Reads a document; `None` where it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut reader = Reader::from_str(text);
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    let name = start.local_name().as_ref().to_owned();
                    open.push(Self { name, ..Self::default() });
                    if open.len() > DEPTH {
                        return None;
                    }
                }
                Event::Empty(start) => {
                    let name = start.local_name().as_ref().to_owned();
                    open.last_mut()?.children.push(Self { name, ..Self::default() });
                }
                Event::Text(part) => open.last_mut()?.text.push_str(&part),
                Event::GeneralRef(name) => {
                    let c = match name.resolve_char_ref().ok()? {
                        Some(c) => c,
                        None => named(&name)?,
                    };
                    open.last_mut()?.text.push(c);
                }
                Event::CData(part) => open.last_mut()?.text.push_str(&part),
                Event::End(_) => {
                    let mut done = open.pop()?;
                    // Elements with children hold nothing but space between them.
                    done.text = done.text.trim().to_owned();
                    open.last_mut()?.children.push(done);
                }
                Event::Eof => {
                    let [root] = open.as_mut_slice() else { return None };
                    return root.children.pop();
                }
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
    }

    fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text at the end of a path of names.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        path.iter().try_fold(self, |element, name| element.child(name)).map(|element| element.text.as_str())
    }

    /// All elements of a name, however deep.
    pub fn all<'a>(&'a self, name: &str) -> Vec<&'a Self> {
        let mut found: Vec<&Self> = self.children.iter().filter(|child| child.name == name).collect();
        found.extend(self.children.iter().flat_map(|child| child.all(name)));
        found
    }

    /// Its own text.
    pub fn own_text(&self) -> &str {
        &self.text
    }
}

fn named(entity: &str) -> Option<char> {
    Some(match entity {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}

/// A page of sets, and where the next one begins: name, type and identifier.
pub(super) struct Page {
    pub sets: Vec<RecordSet>,
    pub next: Option<(String, String, Option<String>)>,
}

/// Reads the answer to a listing; `None` where it is none.
pub(super) fn page(bytes: &[u8]) -> Option<Page> {
    let root = Element::parse(bytes)?;
    let sets = root.child("ResourceRecordSets")?.children.iter().map(set).collect::<Option<Vec<_>>>()?;
    let next = match root.text(&["IsTruncated"])? {
        "true" => {
            let part = |name: &str| root.text(&[name]).map(str::to_owned);
            Some((part("NextRecordName")?, part("NextRecordType")?, part("NextRecordIdentifier")))
        }
        _ => None,
    };
    Some(Page { sets, next })
}

fn set(element: &Element) -> Option<RecordSet> {
    let mut set = RecordSet::default();
    for part in &element.children {
        let text = part.text.clone();
        match part.name.as_str() {
            "Name" => set.name = text,
            "Type" => set.rtype = text,
            "SetIdentifier" => set.id = Some(text),
            "Weight" => set.weight = Some(text.parse().ok()?),
            "MultiValueAnswer" => set.multivalue = Some(text == "true"),
            "TTL" => set.ttl = Some(text.parse().ok()?),
            "HealthCheckId" => set.health_check = Some(text),
            "ResourceRecords" => set.values = part.all("Value").into_iter().map(|v| v.text.clone()).collect(),
            other => set.other.push(other.to_owned()),
        }
    }
    (!set.name.is_empty() && !set.rtype.is_empty()).then_some(set)
}

/// Id and status of a change: `/change/C1`, `PENDING`.
pub(super) fn change(bytes: &[u8]) -> Option<(String, String)> {
    let root = Element::parse(bytes)?;
    let part = |name: &str| root.text(&["ChangeInfo", name]).map(str::to_owned);
    Some((part("Id")?, part("Status")?))
}

/// Code and message of an error.
pub(super) fn error(bytes: &[u8]) -> Option<(String, String)> {
    let root = Element::parse(bytes)?;
    // Batches that cannot be have a form of their own.
    if root.name == "InvalidChangeBatch" {
        let messages: Vec<&str> = root.all("Message").into_iter().map(Element::own_text).collect();
        return Some((root.name.clone(), messages.join("; ")));
    }
    Some((root.text(&["Error", "Code"])?.to_owned(), root.text(&["Error", "Message"]).unwrap_or_default().to_owned()))
}

/// One batch: all of it, or none.
pub(super) fn batch(delete: &[&RecordSet], create: &[&RecordSet]) -> String {
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch><Changes>",
    );
    let all = delete.iter().map(|set| ("DELETE", set)).chain(create.iter().map(|set| ("CREATE", set)));
    for (action, set) in all {
        let _ = write!(out, "<Change><Action>{action}</Action><ResourceRecordSet>");
        let mut part = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(out, "<{name}>{}</{name}>", quick_xml::escape::escape(value));
            }
        };
        part("Name", Some(set.name.clone()));
        part("Type", Some(set.rtype.clone()));
        part("SetIdentifier", set.id.clone());
        part("Weight", set.weight.map(|w| w.to_string()));
        part("MultiValueAnswer", set.multivalue.map(|m| m.to_string()));
        part("TTL", set.ttl.map(|ttl| ttl.to_string()));
        out.push_str("<ResourceRecords>");
        for value in &set.values {
            let _ = write!(out, "<ResourceRecord><Value>{}</Value></ResourceRecord>", quick_xml::escape::escape(value));
        }
        out.push_str("</ResourceRecords>");
        if let Some(id) = &set.health_check {
            let _ = write!(out, "<HealthCheckId>{}</HealthCheckId>", quick_xml::escape::escape(id));
        }
        out.push_str("</ResourceRecordSet></Change>");
    }
    out.push_str("</Changes></ChangeBatch></ChangeResourceRecordSetsRequest>");
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_listing_is_read_with_all_that_a_deletion_needs() {
        let page = page(
            b"<?xml version=\"1.0\"?>\n<ListResourceRecordSetsResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\n<ResourceRecordSets>\n\
              <ResourceRecordSet><Name>www.lab.test.</Name><Type>A</Type><SetIdentifier>a &amp; b</SetIdentifier><Weight>7</Weight><TTL>60</TTL>\n\
              <ResourceRecords><ResourceRecord><Value>192.0.2.1</Value></ResourceRecord></ResourceRecords><HealthCheckId>h-1</HealthCheckId></ResourceRecordSet>\n\
              <ResourceRecordSet><Name>x.lab.test.</Name><Type>A</Type><AliasTarget><DNSName>y.</DNSName></AliasTarget></ResourceRecordSet>\n\
              </ResourceRecordSets><IsTruncated>true</IsTruncated><NextRecordName>z.lab.test.</NextRecordName><NextRecordType>A</NextRecordType>\n\
              <MaxItems>2</MaxItems></ListResourceRecordSetsResponse>",
        )
        .unwrap();
        let first = &page.sets[0];
        assert_eq!((first.id.as_deref(), first.weight, first.ttl), (Some("a & b"), Some(7), Some(60)));
        assert_eq!(
            (first.values.as_slice(), first.health_check.as_deref()),
            (["192.0.2.1".to_owned()].as_slice(), Some("h-1"))
        );
        assert_eq!(page.sets[1].other, ["AliasTarget"]);
        assert_eq!(page.next, Some(("z.lab.test.".to_owned(), "A".to_owned(), None)));
        let sent = batch(&[first], &[]);
        assert!(sent.contains("<SetIdentifier>a &amp; b</SetIdentifier><Weight>7</Weight><TTL>60</TTL>"), "{sent}");
    }

    #[test]
    fn errors_come_in_two_forms() {
        let plain = b"<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>";
        assert_eq!(error(plain), Some(("Throttling".to_owned(), "Rate exceeded".to_owned())));
        let batch = b"<InvalidChangeBatch><Messages><Message>one</Message><Message>two</Message></Messages></InvalidChangeBatch>";
        assert_eq!(error(batch), Some(("InvalidChangeBatch".to_owned(), "one; two".to_owned())));
        let info = b"<R><ChangeInfo><Id>/change/C1</Id><Status>PENDING</Status></ChangeInfo></R>";
        assert_eq!(change(info), Some(("/change/C1".to_owned(), "PENDING".to_owned())));
    }

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[<>/a-zA-Z&;!\\[\\]-]{0,200}") {
            let _ = (page(&bytes), change(&bytes), error(&bytes));
            let _ = (page(text.as_bytes()), change(text.as_bytes()), error(text.as_bytes()));
        }
    }
}
