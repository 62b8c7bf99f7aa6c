//! The inventory as it was typed, before it means anything.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Error, MapAccess, Visitor};
use serde_saphyr::Spanned;

use crate::time::EventTime;

/// A whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InventoryFile {
    #[serde(default)]
    pub domains: Vec<DomainFile>,
    #[serde(default)]
    pub complete: bool,
    #[serde(default)]
    pub accounts: Vec<Spanned<String>>,
    #[serde(default)]
    pub approved_regions: Vec<Spanned<String>>,
    #[serde(default)]
    pub placeholders: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    pub supply_line: Vec<Spanned<String>>,
    #[serde(default)]
    pub break_glass: Vec<BreakGlassFile>,
    #[serde(default)]
    pub suppressions: Vec<Spanned<SuppressionFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DomainFile {
    pub name: Spanned<String>,
    pub tier: Option<String>,
    pub owner: Option<String>,
    pub keys: Vec<Spanned<KeyFile>>,
    #[serde(default)]
    pub expect: Vec<ExpectFile>,
    #[serde(default)]
    pub never: Vec<Spanned<String>>,
    #[serde(default)]
    pub attested: bool,
    #[serde(default)]
    pub decoy: bool,
    #[serde(default)]
    pub retired: bool,
}

/// A key: any one name of it, several that are the same key, or tags that keys are known by.
#[derive(Default)]
pub(super) struct KeyFile {
    pub names: Vec<String>,
    pub tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectFile {
    pub principals: Vec<Spanned<String>>,
    #[serde(default)]
    pub operations: Vec<Spanned<String>>,
    #[serde(default)]
    pub context: BTreeMap<String, Texts>,
    #[serde(default)]
    pub via: Vec<String>,
    #[serde(default)]
    pub from: Vec<Spanned<String>>,
    #[serde(default)]
    pub issued_to: Vec<String>,
    #[serde(default)]
    pub vpc_endpoints: Vec<String>,
    #[serde(default)]
    pub regions: Vec<String>,
    pub days: Option<Spanned<Texts>>,
    pub hours: Option<Spanned<Texts>>,
    pub timezone: Option<Spanned<String>>,
}

/// One text, or several.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    pub fn all(&self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text.clone()],
            Self::Many(texts) => texts.clone(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BreakGlassFile {
    pub ticket: Spanned<String>,
    pub principals: Vec<Spanned<String>>,
    #[serde(default)]
    pub domains: Vec<Spanned<String>>,
    #[serde(default)]
    pub operations: Vec<Spanned<String>>,
    pub start: EventTime,
    pub until: Spanned<EventTime>,
    pub reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SuppressionFile {
    pub rule: Option<Spanned<String>>,
    #[serde(default)]
    pub principals: Vec<Spanned<String>>,
    #[serde(default)]
    pub keys: Vec<String>,
    pub until: EventTime,
    pub ticket: String,
    pub reason: Option<String>,
}

impl<'de> Deserialize<'de> for KeyFile {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMap;
        impl<'de> Visitor<'de> for OneOrMap {
            type Value = KeyFile;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a key ARN, id or alias, or a map with some of arn, id, alias, or with tag")
            }
            fn visit_str<E>(self, name: &str) -> Result<KeyFile, E> {
                Ok(KeyFile { names: vec![name.to_owned()], ..KeyFile::default() })
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KeyFile, A::Error> {
                let mut key = KeyFile::default();
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "arn" | "id" | "alias" => key.names.push(map.next_value()?),
                        "tag" => key.tags = map.next_value()?,
                        _ => return Err(A::Error::unknown_field(&name, &["arn", "id", "alias", "tag"])),
                    }
                }
                Ok(key)
            }
        }
        deserializer.deserialize_any(OneOrMap)
    }
}
