//! Names of accounts and of deliveries: ULIDs, one type each so that they are never mixed up.
//!
//! An id is 128 bits, the time of its making in front, and is written as 26 characters of
//! Crockford's base 32. In SQLite it is TEXT, in serde a string. It is no secret.

use std::fmt;
use std::str::FromStr;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

/// A text that is no id: not 26 characters of Crockford's base 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id (26 characters of Crockford base 32 are expected)")]
pub struct IdError;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            /// A new id of this moment; two of the same millisecond differ in 80 random bits.
            pub fn generate() -> Self {
                Self(Ulid::generate())
            }

            /// The 16 bytes of the id, big-endian: what is bound into additional data.
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_bytes()
            }

            /// The id whose bytes these are.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Ulid::from_bytes(bytes))
            }

            /// When the id was made, in milliseconds since the Unix epoch.
            pub fn timestamp_ms(self) -> u64 {
                self.0.timestamp_ms()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; ulid::ULID_LEN];
                f.pad(self.0.array_to_str(&mut text))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Ulid::from_string(text).map(Self).map_err(|_| IdError)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an id of 26 characters")
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }

        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::from(self.to_string()))
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                value.as_str()?.parse().map_err(|error: IdError| FromSqlError::Other(Box::new(error)))
            }
        }
    };
}

id! {
    /// Names an account for ever; addresses may change, this does not.
    AccountId
}

id! {
    /// Names one accepted message, from its connection to every log line, queue row and mailbox row.
    DeliveryId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let id = AccountId::generate();
        let text = id.to_string();
        assert_eq!(text.len(), 26);
        assert_eq!(text.parse::<AccountId>(), Ok(id));
        assert_eq!(text.to_lowercase().parse::<AccountId>(), Ok(id));
        assert_eq!(AccountId::from_bytes(id.to_bytes()), id);
        assert_eq!(format!("{id:?}"), format!("AccountId({text})"));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "x",
            "01D39ZY06FGSCTVN4T2V9PKHF",
            "01D39ZY06FGSCTVN4T2V9PKHFZZ",
            "../../../../../../../../etc",
        ] {
            assert_eq!(text.parse::<DeliveryId>(), Err(IdError), "{text}");
        }
    }

    #[test]
    fn serde_and_sqlite_carry_text() {
        use serde::de::IntoDeserializer;
        use serde::de::value::{Error, StrDeserializer};

        let id = DeliveryId::generate();
        let text = id.to_string();
        let from: StrDeserializer<'_, Error> = text.as_str().into_deserializer();
        assert_eq!(DeliveryId::deserialize(from), Ok(id));
        let from: StrDeserializer<'_, Error> = "nothing".into_deserializer();
        assert!(DeliveryId::deserialize(from).is_err());

        let db = rusqlite::Connection::open_in_memory().unwrap();
        let (kind, back): (String, DeliveryId) = db
            .query_row("SELECT typeof(?1), ?1", [id], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!((kind.as_str(), back), ("text", id));
        assert!(db.query_row("SELECT 'no id'", [], |row| row.get::<_, DeliveryId>(0)).is_err());
        assert!(db.query_row("SELECT 7", [], |row| row.get::<_, DeliveryId>(0)).is_err());
    }

    #[test]
    fn ids_ascend_with_time() {
        let early = AccountId(Ulid::from_parts(1_000, u128::MAX));
        let late = AccountId(Ulid::from_parts(1_001, 0));
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(late.timestamp_ms(), 1_001);
    }
}
