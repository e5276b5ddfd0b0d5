//! Bytes to values.

use serde::Deserialize;
use serde::de::{self, Error as _, IntoDeserializer, Visitor};

use super::{BYTES, FALSE, FLOAT, MAGIC, MAP, NEGATIVE, NULL, PackError, SEQUENCE, STRING, TRUE, UNSIGNED};

/// Values lie in each other no deeper than this.
const DEPTH: u32 = 128;

/// Decodes a value; all bytes must belong to it.
pub fn from_bytes<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, PackError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| PackError::custom("it is no encoded value"))?;
    let mut reader = Reader { rest, strings: Vec::new(), depth: 0 };
    let strings = reader.number()?;
    for _ in 0..strings {
        let text = reader.block()?;
        reader.strings.push(std::str::from_utf8(text).map_err(PackError::custom)?);
    }
    let value = T::deserialize(&mut reader)?;
    match reader.rest {
        [] => Ok(value),
        rest => Err(PackError::custom(format!("{} bytes too many", rest.len()))),
    }
}

struct Reader<'de> {
    rest: &'de [u8],
    strings: Vec<&'de str>,
    depth: u32,
}

fn ended() -> PackError {
    PackError::custom("its end is missing")
}

impl<'de> Reader<'de> {
    fn byte(&mut self) -> Result<u8, PackError> {
        let (first, rest) = self.rest.split_first().ok_or_else(ended)?;
        self.rest = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u64, PackError> {
        let mut out = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            out |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(out);
            }
        }
        Err(PackError::custom("a number is too long"))
    }

    /// A length and that many bytes.
    fn block(&mut self) -> Result<&'de [u8], PackError> {
        let length = usize::try_from(self.number()?).map_err(PackError::custom)?;
        let (block, rest) = self.rest.split_at_checked(length).ok_or_else(ended)?;
        self.rest = rest;
        Ok(block)
    }

    fn string(&mut self) -> Result<&'de str, PackError> {
        let n = usize::try_from(self.number()?).map_err(PackError::custom)?;
        self.strings.get(n).copied().ok_or_else(|| PackError::custom(format!("there is no string {n}")))
    }

    fn float(&mut self) -> Result<f64, PackError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(ended)?;
        self.rest = rest;
        Ok(f64::from_le_bytes(*bytes))
    }

    /// Goes into a sequence or a map of that many elements.
    fn inside<T>(&mut self, read: impl FnOnce(&mut Many<'_, 'de>) -> Result<T, PackError>) -> Result<T, PackError> {
        let left = self.number()?;
        if self.depth >= DEPTH {
            return Err(PackError::custom("it is too deep"));
        }
        self.depth += 1;
        let mut many = Many { reader: self, left };
        let out = read(&mut many)?;
        let left = many.left;
        self.depth -= 1;
        match left {
            0 => Ok(out),
            left => Err(PackError::custom(format!("{left} elements too many"))),
        }
    }
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = PackError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        match self.byte()? {
            NULL => visitor.visit_unit(),
            FALSE => visitor.visit_bool(false),
            TRUE => visitor.visit_bool(true),
            UNSIGNED => visitor.visit_u64(self.number()?),
            NEGATIVE => visitor.visit_i64(!self.number()? as i64),
            FLOAT => visitor.visit_f64(self.float()?),
            STRING => visitor.visit_borrowed_str(self.string()?),
            BYTES => visitor.visit_borrowed_bytes(self.block()?),
            SEQUENCE => self.inside(|many| visitor.visit_seq(many)),
            MAP => self.inside(|many| visitor.visit_map(many)),
            tag => Err(PackError::custom(format!("there is no kind {tag} of value"))),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        match self.rest.split_first() {
            Some((&NULL, rest)) => {
                self.rest = rest;
                visitor.visit_none()
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, PackError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PackError> {
        match self.byte()? {
            STRING => visitor.visit_enum(self.string()?.into_deserializer()),
            MAP => self.inside(|many| visitor.visit_enum(many)),
            tag => Err(PackError::custom(format!("kind {tag} of value where a variant should be"))),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

/// What is left of a sequence or a map.
struct Many<'a, 'de> {
    reader: &'a mut Reader<'de>,
    left: u64,
}

impl<'de> de::SeqAccess<'de> for &mut Many<'_, 'de> {
    type Error = PackError;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, PackError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        usize::try_from(self.left).ok()
    }
}

impl<'de> de::MapAccess<'de> for &mut Many<'_, 'de> {
    type Error = PackError;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, PackError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn next_value_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, PackError> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        usize::try_from(self.left).ok()
    }
}

/// A variant that holds something is a map of one entry.
impl<'de> de::EnumAccess<'de> for &mut Many<'_, 'de> {
    type Error = PackError;
    type Variant = Self;

    fn variant_seed<T: de::DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), PackError> {
        self.left = self.left.checked_sub(1).ok_or_else(ended)?;
        let variant = seed.deserialize(&mut *self.reader)?;
        Ok((variant, self))
    }
}

impl<'de> de::VariantAccess<'de> for &mut Many<'_, 'de> {
    type Error = PackError;

    fn unit_variant(self) -> Result<(), PackError> {
        Deserialize::deserialize(&mut *self.reader)
    }

    fn newtype_variant_seed<T: de::DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, PackError> {
        seed.deserialize(&mut *self.reader)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, PackError> {
        de::Deserializer::deserialize_any(&mut *self.reader, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, PackError> {
        de::Deserializer::deserialize_any(&mut *self.reader, visitor)
    }
}
