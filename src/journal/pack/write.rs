//! Values to bytes.

use std::collections::HashMap;

use serde::Serialize;
use serde::ser::{self, Error as _};

use super::{BYTES, FALSE, FLOAT, MAGIC, MAP, NEGATIVE, NULL, PackError, SEQUENCE, STRING, TRUE, UNSIGNED};

/// Encodes a value.
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, PackError> {
    let mut writer = Writer::default();
    value.serialize(&mut writer)?;
    let mut out = MAGIC.to_vec();
    number(&mut out, writer.numbers.len() as u64);
    out.extend_from_slice(&writer.table);
    out.extend_from_slice(&writer.body);
    Ok(out)
}

#[derive(Default)]
struct Writer {
    /// Strings in the order of their numbers, each behind its length.
    table: Vec<u8>,
    numbers: HashMap<String, u64>,
    body: Vec<u8>,
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn number(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

impl Writer {
    fn tagged(&mut self, tag: u8, n: u64) {
        self.body.push(tag);
        number(&mut self.body, n);
    }

    fn string(&mut self, text: &str) {
        let known = self.numbers.get(text).copied();
        let n = known.unwrap_or_else(|| {
            let n = self.numbers.len() as u64;
            self.numbers.insert(text.to_owned(), n);
            number(&mut self.table, text.len() as u64);
            self.table.extend_from_slice(text.as_bytes());
            n
        });
        self.tagged(STRING, n);
    }

    /// A variant that holds something: a map of one entry.
    fn variant(&mut self, name: &str) {
        self.tagged(MAP, 1);
        self.string(name);
    }

    fn many(&mut self, tag: u8, length: Option<usize>) -> Many<'_> {
        self.body.push(tag);
        let at = self.body.len();
        if let Some(length) = length {
            number(&mut self.body, length as u64);
        }
        Many { writer: self, at, written: length, count: 0 }
    }
}

/// A sequence or a map under way.
struct Many<'a> {
    writer: &'a mut Writer,
    /// Where its length stands, or will.
    at: usize,
    written: Option<usize>,
    count: usize,
}

impl Many<'_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), PackError> {
        self.count += 1;
        value.serialize(&mut *self.writer)
    }

    fn entry<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), PackError> {
        self.count += 1;
        self.writer.string(key);
        value.serialize(&mut *self.writer)
    }

    fn close(self) -> Result<(), PackError> {
        match self.written {
            Some(length) if length == self.count => Ok(()),
            Some(length) => Err(PackError::custom(format!("{} elements instead of {length}", self.count))),
            None => {
                let mut length = Vec::new();
                number(&mut length, self.count as u64);
                self.writer.body.splice(self.at..self.at, length);
                Ok(())
            }
        }
    }
}

impl<'a> ser::Serializer for &'a mut Writer {
    type Ok = ();
    type Error = PackError;
    type SerializeSeq = Many<'a>;
    type SerializeTuple = Many<'a>;
    type SerializeTupleStruct = Many<'a>;
    type SerializeTupleVariant = Many<'a>;
    type SerializeMap = Many<'a>;
    type SerializeStruct = Many<'a>;
    type SerializeStructVariant = Many<'a>;

    fn serialize_bool(self, v: bool) -> Result<(), PackError> {
        self.body.push(if v { TRUE } else { FALSE });
        Ok(())
    }

    fn serialize_i8(self, v: i8) -> Result<(), PackError> {
        self.serialize_i64(v.into())
    }

    fn serialize_i16(self, v: i16) -> Result<(), PackError> {
        self.serialize_i64(v.into())
    }

    fn serialize_i32(self, v: i32) -> Result<(), PackError> {
        self.serialize_i64(v.into())
    }

    fn serialize_i64(self, v: i64) -> Result<(), PackError> {
        match u64::try_from(v) {
            Ok(v) => self.tagged(UNSIGNED, v),
            Err(_) => self.tagged(NEGATIVE, !v as u64),
        }
        Ok(())
    }

    fn serialize_u8(self, v: u8) -> Result<(), PackError> {
        self.serialize_u64(v.into())
    }

    fn serialize_u16(self, v: u16) -> Result<(), PackError> {
        self.serialize_u64(v.into())
    }

    fn serialize_u32(self, v: u32) -> Result<(), PackError> {
        self.serialize_u64(v.into())
    }

    fn serialize_u64(self, v: u64) -> Result<(), PackError> {
        self.tagged(UNSIGNED, v);
        Ok(())
    }

    fn serialize_f32(self, v: f32) -> Result<(), PackError> {
        self.serialize_f64(v.into())
    }

    fn serialize_f64(self, v: f64) -> Result<(), PackError> {
        self.body.push(FLOAT);
        self.body.extend_from_slice(&v.to_le_bytes());
        Ok(())
    }

    fn serialize_char(self, v: char) -> Result<(), PackError> {
        self.string(v.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, v: &str) -> Result<(), PackError> {
        self.string(v);
        Ok(())
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<(), PackError> {
        self.tagged(BYTES, v.len() as u64);
        self.body.extend_from_slice(v);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), PackError> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), PackError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), PackError> {
        self.body.push(NULL);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), PackError> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), PackError> {
        self.string(variant);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), PackError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), PackError> {
        self.variant(variant);
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Many<'a>, PackError> {
        Ok(self.many(SEQUENCE, length))
    }

    fn serialize_tuple(self, length: usize) -> Result<Many<'a>, PackError> {
        Ok(self.many(SEQUENCE, Some(length)))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Many<'a>, PackError> {
        Ok(self.many(SEQUENCE, Some(length)))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Many<'a>, PackError> {
        self.variant(variant);
        Ok(self.many(SEQUENCE, Some(length)))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Many<'a>, PackError> {
        Ok(self.many(MAP, length))
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Many<'a>, PackError> {
        Ok(self.many(MAP, Some(length)))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Many<'a>, PackError> {
        self.variant(variant);
        Ok(self.many(MAP, Some(length)))
    }
}

impl ser::SerializeSeq for Many<'_> {
    type Ok = ();
    type Error = PackError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), PackError> {
        self.element(value)
    }

    fn end(self) -> Result<(), PackError> {
        self.close()
    }
}

impl ser::SerializeTuple for Many<'_> {
    type Ok = ();
    type Error = PackError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), PackError> {
        self.element(value)
    }

    fn end(self) -> Result<(), PackError> {
        self.close()
    }
}

impl ser::SerializeTupleStruct for Many<'_> {
    type Ok = ();
    type Error = PackError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), PackError> {
        self.element(value)
    }

    fn end(self) -> Result<(), PackError> {
        self.close()
    }
}

impl ser::SerializeTupleVariant for Many<'_> {
    type Ok = ();
    type Error = PackError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), PackError> {
        self.element(value)
    }

    fn end(self) -> Result<(), PackError> {
        self.close()
    }
}

impl ser::SerializeMap for Many<'_> {
    type Ok = ();
    type Error = PackError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), PackError> {
        self.element(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), PackError> {
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), PackError> {
        self.close()
    }
}

impl ser::SerializeStruct for Many<'_> {
    type Ok = ();
    type Error = PackError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), PackError> {
        self.entry(key, value)
    }

    fn end(self) -> Result<(), PackError> {
        self.close()
    }
}

impl ser::SerializeStructVariant for Many<'_> {
    type Ok = ();
    type Error = PackError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), PackError> {
        self.entry(key, value)
    }

    fn end(self) -> Result<(), PackError> {
        self.close()
    }
}
