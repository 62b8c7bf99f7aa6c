//! Key policy documents on disk, and which key each is of.
//!
//! A document is a policy, or what `aws kms get-key-policy` prints. Its key is what the map says, else
//! what a `describe-key` answer beside it says (`vault.json` and `vault.describe-key.json`: the same
//! name up to the first dot), else its own name, if that is a key id, or an ARN with its slash and
//! colons as they are or as underscores.
//!
//! Invariant: nothing is guessed. A document whose key is not known is named, and left out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use super::super::Usage;
use super::import::changed;
use crate::event::key::KeyRef;
use crate::keys::snapshot::{KeyFacts, MultiRegion};
use crate::source::capture::files_under;
use crate::time::EventTime;

/// A policy has 32 KiB at most; nothing beside it is this long.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What the documents came to.
#[derive(Debug, Default)]
pub(super) struct Documents {
    /// Keys with their policies, in the order of their documents.
    pub keys: Vec<Attributed>,
    /// What is left out, and why.
    pub unattributed: Vec<String>,
}

/// A policy and its key.
#[derive(Debug)]
pub(super) struct Attributed {
    /// The key; its `arn` may be an id or an alias.
    pub facts: KeyFacts,
    /// What the map says.
    pub domain: Option<String>,
    /// The document.
    pub source: String,
}

/// A line of the map.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    file: String,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    alias: Option<String>,
    #[serde(default)]
    domain: Option<String>,
}

impl Row {
    /// A cell left empty says nothing.
    fn tidy(mut self) -> Self {
        for cell in [&mut self.key, &mut self.alias, &mut self.domain] {
            *cell = cell.take().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        }
        self
    }

    fn mistake(&self) -> Option<String> {
        let is_key = |text: &str| KeyRef::parse(text).is_some_and(|key| key.id.is_some());
        if let Some(key) = self.key.as_deref().filter(|key| !is_key(key)) {
            return Some(format!("'{key}' is no key ARN and no key id"));
        }
        let alias = self.alias.as_deref().filter(|alias| !alias.starts_with("alias/"));
        alias.map(|alias| format!("'{alias}' is no alias; write alias/NAME"))
    }
}

/// What a file holds.
enum Content {
    Policy(String),
    Metadata(Value),
    Nothing(String),
}

/// Reads documents below `paths`.
///
/// # Errors
/// When a path or the map cannot be read, or the map has mistakes.
pub(super) fn read(paths: &[PathBuf], map: Option<&Path>) -> anyhow::Result<Documents> {
    let mut rows = map.map(read_map).transpose()?.unwrap_or_default();
    let (mut policies, mut described) = (Vec::new(), BTreeMap::new());
    let mut found = Documents::default();
    for path in listed(paths)? {
        match content(&path) {
            Content::Policy(text) => policies.push((path, text)),
            Content::Metadata(metadata) => {
                if let Some((_, other)) = described.insert(beside(&path), (metadata, path.clone())) {
                    let text = format!("{}: describes the same document as {}", path.display(), other.display());
                    found.unattributed.push(text);
                }
            }
            Content::Nothing(why) => found.unattributed.push(format!("{}: {why}", path.display())),
        }
    }
    let mut seen: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (path, policy) in policies {
        let row = rows.iter().position(|row| path.ends_with(&row.file)).map(|at| rows.swap_remove(at));
        let metadata = described.remove(&beside(&path)).map(|(metadata, _)| metadata);
        let Some(facts) = facts(&path, policy, row.as_ref(), metadata.as_ref()) else {
            found.unattributed.push(format!(
                "{}: whose policy is it? name it after its key (KEY_ID.json), put the answer of describe-key beside it \
                 ({}.describe-key.json), or give --map",
                path.display(),
                stem(&path)
            ));
            continue;
        };
        if let Some(other) = seen.insert(facts.arn.clone(), path.clone()) {
            let text =
                format!("{}: left out, for {} is of the same key {}", path.display(), other.display(), facts.arn);
            found.unattributed.push(text);
            seen.insert(facts.arn.clone(), other);
            continue;
        }
        let domain = row.and_then(|row| row.domain);
        found.keys.push(Attributed { facts, domain, source: path.display().to_string() });
    }
    let alone = described.into_values().map(|(_, path)| format!("{}: no policy document beside it", path.display()));
    found.unattributed.extend(alone);
    found.unattributed.extend(rows.iter().map(|row| format!("{}: the map names it, but it was not read", row.file)));
    found.unattributed.sort();
    Ok(found)
}

/// Files as named, and the `*.json` of folders, in order.
fn listed(paths: &[PathBuf]) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut listed = BTreeSet::new();
    for path in paths {
        let files = files_under(path).map_err(|error| Usage(error.to_string()))?;
        let is_json = |file: &PathBuf| file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        listed.extend(files.into_iter().filter(|file| file == path || is_json(file)));
    }
    Ok(listed)
}

fn read_map(path: &Path) -> anyhow::Result<Vec<Row>> {
    let fail = |what: String| Usage(format!("{}: {what}", path.display()));
    let text = text_of(path).map_err(fail)?;
    let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let rows: Vec<Row> = match is_csv {
        true => {
            let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
            reader.deserialize().collect::<Result<_, _>>().map_err(|error| fail(error.to_string()))?
        }
        false => serde_saphyr::from_str(&text).map_err(|error| fail(error.without_snippet().to_string()))?,
    };
    let rows: Vec<_> = rows.into_iter().map(Row::tidy).collect();
    let mistakes: Vec<_> = rows.iter().filter_map(|row| Some(format!("{}: {}", row.file, row.mistake()?))).collect();
    if !mistakes.is_empty() {
        anyhow::bail!(fail(mistakes.join("; ")));
    }
    Ok(rows)
}

fn text_of(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("longer than {MAX_FILE_BYTES} bytes"));
    }
    Ok(text)
}

fn content(path: &Path) -> Content {
    let parsed = text_of(path).and_then(|text| serde_json::from_str::<Value>(&text).map_err(|error| error.to_string()));
    let mut value = match parsed {
        Ok(value) => value,
        Err(error) => return Content::Nothing(format!("cannot be read: {error}")),
    };
    if let Some(metadata) = value.get_mut("KeyMetadata") {
        return Content::Metadata(metadata.take());
    }
    // A policy as a text within the answer, or, with --query Policy, alone.
    let policy = value.get("Policy").cloned().unwrap_or(value);
    let policy = match &policy {
        Value::String(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        _ => policy,
    };
    match policy.get("Statement") {
        Some(_) => Content::Policy(policy.to_string()),
        None => Content::Nothing("neither a key policy nor an answer of describe-key".to_owned()),
    }
}

/// The name up to its first dot.
fn stem(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// What a document and the answer of describe-key beside it have in common.
fn beside(path: &Path) -> PathBuf {
    path.with_file_name(stem(path))
}

/// The key that a name spells.
fn key_in(name: &str) -> Option<String> {
    // A mistake in these would show in the first test.
    static ARN: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"^arn[:_](aws[a-z-]*)[:_]kms[:_]([a-z0-9-]+)[:_](\d{12})[:_]key[_:]([A-Za-z0-9-]+)$").ok()
    });
    static ID: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^(mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$").ok());
    if let Some(parts) = ARN.as_ref().and_then(|arn| arn.captures(name)) {
        let (_, [partition, region, account, id]) = parts.extract();
        return Some(format!("arn:{partition}:kms:{region}:{account}:key/{id}"));
    }
    ID.as_ref().is_some_and(|id| id.is_match(name)).then(|| name.to_owned())
}

/// A key by the best name there is, with what is known of it.
fn facts(path: &Path, policy: String, row: Option<&Row>, metadata: Option<&Value>) -> Option<KeyFacts> {
    let told = |pointer: &str| metadata.and_then(|all| all.pointer(pointer)?.as_str()).map(str::to_owned);
    let (key, alias) = row.map(|row| (row.key.clone(), row.alias.clone())).unwrap_or_default();
    let name = key.or_else(|| told("/Arn")).or_else(|| told("/KeyId")).or_else(|| key_in(&stem(path)));
    let name = name.or_else(|| alias.clone())?;
    let instant = |pointer: &str| -> Option<EventTime> {
        match metadata?.pointer(pointer)? {
            Value::String(text) => EventTime::parse(text).ok(),
            // Seconds, as the API has them.
            #[allow(clippy::cast_possible_truncation)]
            value => value.as_f64().map(|secs| EventTime::from_millis((secs * 1000.0) as i64)),
        }
    };
    let replicas = metadata.and_then(|all| all.pointer("/MultiRegionConfiguration/ReplicaKeys")?.as_array());
    let arns = replicas.into_iter().flatten().filter_map(|replica| Some(replica.get("Arn")?.as_str()?.to_owned()));
    let arns = arns.collect();
    Some(KeyFacts {
        arn: name,
        as_of: changed(path),
        description: told("/Description").unwrap_or_default(),
        manager: told("/KeyManager"),
        state: told("/KeyState"),
        spec: told("/KeySpec"),
        usage: told("/KeyUsage"),
        origin: told("/Origin"),
        created: instant("/CreationDate"),
        deletion: instant("/DeletionDate"),
        multi_region: told("/MultiRegionConfiguration/PrimaryKey/Arn")
            .map(|primary| MultiRegion { primary, replicas: arns }),
        rotation: None,
        policy: Some(policy),
        aliases: alias.into_iter().collect(),
        tags: BTreeMap::new(),
        grants: Vec::new(),
        // A document tells nothing of these.
        unknown: ["grants", "tags", "aliases", "rotation"]
            .into_iter()
            .map(|what| (what.to_owned(), format!("read from {}", path.display())))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00000001-0000-4000-8000-000000000000";
    const POLICY: &str = r#"{"Statement":[]}"#;

    #[test]
    fn a_name_spells_a_key_or_nothing() {
        let arn = format!("arn:aws:kms:eu-west-1:111122223333:key/{ID}");
        assert_eq!(key_in(&format!("arn_aws_kms_eu-west-1_111122223333_key_{ID}")).as_deref(), Some(arn.as_str()));
        assert_eq!(key_in(&format!("arn:aws:kms:eu-west-1:111122223333:key_{ID}")).as_deref(), Some(arn.as_str()));
        assert_eq!(key_in(ID).as_deref(), Some(ID));
        assert_eq!(
            key_in("mrk-0123456789abcdef0123456789abcdef").as_deref(),
            Some("mrk-0123456789abcdef0123456789abcdef")
        );
        assert_eq!(key_in("vault"), None);
    }

    #[test]
    fn each_document_finds_its_key_or_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        put(&format!("{ID}.json"), POLICY);
        put("vault.json", &serde_json::json!({"Policy": POLICY, "PolicyName": "default"}).to_string());
        let metadata = r#"{"KeyMetadata":{"Arn":"arn:aws:kms:eu-west-1:111122223333:key/k-2","KeyManager":"CUSTOMER","CreationDate":1767225600.5,"DeletionDate":"2026-02-01T00:00:00+01:00"}}"#;
        put("vault.describe-key.json", metadata);
        put("pii.json", &serde_json::to_string(POLICY).unwrap());
        put("twice.json", POLICY);
        put("nobody.json", POLICY);
        put("lonely.describe-key.json", metadata);
        put("broken.json", "{");
        put("other.json", "[1]");
        put("notes.txt", "not looked at");
        put(
            "map.csv",
            &format!(
                "file,key,alias,domain\npii.json,,alias/pii,customer-pii\ntwice.json,{ID},,\nmissing.json,k-9,,\n"
            ),
        );
        let map = folder.path().join("map.csv");
        let found = read(&[folder.path().to_owned()], Some(&map)).unwrap();
        let keys: Vec<_> = found.keys.iter().map(|key| (key.facts.arn.as_str(), key.domain.as_deref())).collect();
        assert_eq!(
            keys,
            [(ID, None), ("alias/pii", Some("customer-pii")), ("arn:aws:kms:eu-west-1:111122223333:key/k-2", None)]
        );
        let vault = &found.keys[2].facts;
        assert_eq!((vault.policy.as_deref(), vault.created.unwrap().as_millis()), (Some(POLICY), 1_767_225_600_500));
        assert_eq!(vault.deletion, Some(EventTime::parse("2026-01-31T23:00:00Z").unwrap()));
        let said = found.unattributed.join("\n");
        for expected in [
            "broken.json: cannot be read",
            "lonely.describe-key.json: no policy document",
            "missing.json: the map names it",
            "nobody.json: whose policy is it?",
            "other.json: neither",
            "twice.json: left out",
        ] {
            assert!(said.contains(expected), "{expected} is not in\n{said}");
        }
        assert_eq!(found.unattributed.len(), 6, "{said}");
    }

    #[test]
    fn mistakes_of_the_map_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let map = folder.path().join("map.yml");
        let mistake = |text: &str| {
            std::fs::write(&map, text).unwrap();
            read_map(&map).unwrap_err().to_string()
        };
        assert!(mistake("- {file: a.json, key: 'arn:aws:s3:::b'}").contains("a.json: 'arn:aws:s3:::b' is no key ARN"));
        assert!(mistake("- {file: a.json, alias: vault}").contains("write alias/NAME"));
        assert!(mistake("- {file: a.json, kye: k}").contains("kye"));
        std::fs::write(&map, "- {file: a.json, key: k-1, domain: vault}").unwrap();
        assert_eq!(read_map(&map).unwrap()[0].domain.as_deref(), Some("vault"));
    }
}
