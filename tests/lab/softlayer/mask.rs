//! The grammar of object masks: `mask[a,b[c]]`, `mask(Type)[…]`, `mask.a.b`, lists of masks, and bare names.

use std::collections::BTreeMap;

use super::refused::Refused;

/// Names, and what is wanted below each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tree(pub BTreeMap<String, Tree>);

impl Tree {
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(name, below)| self.0.entry(name.clone()).or_default().merge(below));
    }

    fn path(&mut self, dotted: &str) -> &mut Self {
        dotted.split('.').fold(self, |tree, name| tree.0.entry(name.to_owned()).or_default())
    }
}

/// One mask of a list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Part {
    /// The type that it is for, where that is said.
    pub for_type: Option<String>,
    pub tree: Tree,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mask {
    pub parts: Vec<Part>,
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

/// Reads a mask.
pub fn parse(text: &str) -> Result<Mask, Refused> {
    let mut parser = Parser { text: text.as_bytes(), at: 0 };
    let list = parser.eat(b'[');
    let mut mask = Mask::default();
    loop {
        mask.parts.push(parser.part()?);
        if !parser.eat(b',') {
            break;
        }
    }
    if list && !parser.eat(b']') || parser.peek().is_some() {
        return Err(parser.wrong());
    }
    Ok(mask)
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn wrong(&mut self) -> Refused {
        let got = self.peek().map_or_else(String::new, |b| char::from(b).to_string());
        Refused::parser(self.at + 1, &got)
    }

    fn name(&mut self) -> Result<String, Refused> {
        self.peek();
        let start = self.at;
        while self.text.get(self.at).is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.')) {
            self.at += 1;
        }
        let name = String::from_utf8_lossy(&self.text[start..self.at]).into_owned();
        if name.is_empty() { Err(self.wrong()) } else { Ok(name) }
    }

    fn part(&mut self) -> Result<Part, Refused> {
        let mut part = Part::default();
        let name = self.name()?;
        let root = name.split('.').next().unwrap_or_default();
        if !matches!(root, "mask" | "filteredMask") {
            // Bare: the name is a property already.
            self.below(part.tree.path(&name))?;
            return Ok(part);
        }
        if self.eat(b'(') {
            part.for_type = Some(self.name()?.trim_start_matches("SoftLayer_").to_owned());
            if !self.eat(b')') {
                return Err(self.wrong());
            }
        }
        match name.split_once('.') {
            Some((_, rest)) => self.below(part.tree.path(rest))?,
            None => self.below(&mut part.tree)?,
        }
        Ok(part)
    }

    /// `[a,b]` below a name, if it is there.
    fn below(&mut self, tree: &mut Tree) -> Result<(), Refused> {
        if !self.eat(b'[') {
            return Ok(());
        }
        loop {
            let name = self.name()?;
            if self.eat(b'(') {
                // A property for one type among several.
                self.name()?;
                if !self.eat(b')') {
                    return Err(self.wrong());
                }
            }
            self.below(tree.path(&name))?;
            if self.eat(b']') {
                return Ok(());
            }
            if !self.eat(b',') {
                return Err(self.wrong());
            }
        }
    }
}
