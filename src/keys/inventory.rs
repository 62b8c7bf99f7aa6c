//! The inventory: key domains, their keys, and who is expected to use them. Read from YAML.
//!
//! ```yaml
//! domains:
//!   - name: token-vault
//!     tier: critical
//!     owner: payments-oncall
//!     keys:
//!       - {alias: alias/banking-token-vault-key, arn: "arn:aws:kms:...:key/..."}
//!     expect:
//!       - principals: ["arn:aws:iam::111122223333:role/banking-payments-role"]
//!         operations: [Encrypt, Decrypt]
//!         context: {purpose: tokenisation}
//!         via: [lambda.amazonaws.com]
//!     never: ["arn:aws:iam::*:role/developer-*"]
//!     attested: true            # or decoy: true, retired: true
//! accounts: ["111122223333"]     # of the organisation
//! approved_regions: [eu-west-1]  # that keys may be copied or moved to
//! placeholders: {break_glass: ["arn:aws:iam::111122223333:role/break-glass"]}
//! supply_line: ["arn:aws:cloudtrail:eu-west-1:111122223333:trail/main"]
//! ```
//!
//! Invariant: a key belongs to at most one domain; a file with any mistake is refused, each mistake
//! with its line and column.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::pattern::NamePattern;
use super::supply::{Resource, SupplyLine};
use crate::event::key::KeyRef;
use crate::event::operation::OPERATIONS;

/// Key domains as the bank sees them. The default knows none.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// In file order.
    pub domains: Vec<Domain>,
    /// Accounts of the organisation; with none listed nobody is trusted or not.
    pub accounts: BTreeSet<String>,
    /// Regions that keys may be copied or moved to; with none listed all are.
    pub approved_regions: BTreeSet<String>,
    /// Named lists of values that rules refer to.
    pub placeholders: BTreeMap<String, Vec<String>>,
    /// What kmswatch itself lives by.
    pub supply_line: SupplyLine,
    by_name: BTreeMap<String, Named>,
    aliases: BTreeMap<String, String>,
}

/// What a name of a key leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Named {
    domain: usize,
    /// The inventory knows the key's ARN too.
    has_arn: bool,
}

/// Keys that protect one kind of data, and their expected use.
#[derive(Clone, Debug)]
pub struct Domain {
    /// Unique name.
    pub name: String,
    /// How much hangs on it, in the bank's own words.
    pub tier: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Who may do what.
    pub expect: Vec<Expect>,
    /// Who must never, whatever `expect` says.
    pub never: Vec<NamePattern>,
    /// Where the keys stand.
    pub standing: Standing,
    /// Names of its keys, for placeholders.
    pub key_names: Vec<String>,
}

/// What is peculiar about the keys of a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Every use that can be attested must carry an attestation document of a Nitro enclave.
    pub attested: bool,
    /// Bait: nobody uses them.
    pub decoy: bool,
    /// Kept for old data only: nobody encrypts under them.
    pub retired: bool,
}

/// One line of expected use; all that is given must fit.
#[derive(Clone, Debug)]
pub struct Expect {
    /// Canonical principals.
    pub principals: Vec<NamePattern>,
    /// Operations; empty means every cryptographic one.
    pub operations: Vec<NamePattern>,
    /// Encryption context: name and value.
    pub context: Vec<(String, NamePattern)>,
    /// Calling services; empty means directly or through any.
    pub via: Vec<NamePattern>,
}

/// What is wrong with an inventory file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryError {
    /// One `path:line:column: what` each.
    pub mistakes: Vec<String>,
}

impl fmt::Display for InventoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mistakes.join("\n"))
    }
}

impl std::error::Error for InventoryError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InventoryFile {
    #[serde(default)]
    domains: Vec<DomainFile>,
    #[serde(default)]
    accounts: Vec<Spanned<String>>,
    #[serde(default)]
    approved_regions: Vec<Spanned<String>>,
    #[serde(default)]
    placeholders: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    supply_line: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DomainFile {
    name: Spanned<String>,
    tier: Option<String>,
    owner: Option<String>,
    keys: Vec<Spanned<KeyFile>>,
    #[serde(default)]
    expect: Vec<ExpectFile>,
    #[serde(default)]
    never: Vec<Spanned<String>>,
    #[serde(default)]
    attested: bool,
    #[serde(default)]
    decoy: bool,
    #[serde(default)]
    retired: bool,
}

/// A key: any one name of it, or several that are the same key.
#[derive(Default)]
struct KeyFile {
    names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectFile {
    principals: Vec<Spanned<String>>,
    #[serde(default)]
    operations: Vec<Spanned<String>>,
    #[serde(default)]
    context: BTreeMap<String, String>,
    #[serde(default)]
    via: Vec<String>,
}

impl<'de> Deserialize<'de> for KeyFile {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMap;
        impl<'de> serde::de::Visitor<'de> for OneOrMap {
            type Value = KeyFile;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key ARN, id or alias, or a map with some of arn, id, alias")
            }
            fn visit_str<E>(self, name: &str) -> Result<KeyFile, E> {
                Ok(KeyFile { names: vec![name.to_owned()] })
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<KeyFile, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !["arn", "id", "alias"].contains(&name.as_str()) {
                        return Err(serde::de::Error::unknown_field(&name, &["arn", "id", "alias"]));
                    }
                    names.push(map.next_value()?);
                }
                Ok(KeyFile { names })
            }
        }
        deserializer.deserialize_any(OneOrMap)
    }
}

impl Inventory {
    /// Reads an inventory; `path` is only for messages.
    ///
    /// # Errors
    /// Every mistake found, with its place.
    pub fn parse(path: &str, text: &str) -> Result<Self, InventoryError> {
        let file: InventoryFile = serde_saphyr::from_str(text).map_err(|error| {
            let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
            let what = error.without_snippet().to_string();
            InventoryError { mistakes: vec![format!("{path}:{line}:{column}: {what}")] }
        })?;
        let mut builder = Builder { path, inventory: Self::default(), mistakes: Vec::new() };
        for domain in file.domains {
            builder.domain(domain);
        }
        builder.organisation(file.accounts, file.approved_regions);
        builder.supply_line(&file.supply_line);
        builder.inventory.placeholders = file.placeholders;
        if builder.mistakes.is_empty() {
            Ok(builder.inventory)
        } else {
            Err(InventoryError { mistakes: builder.mistakes })
        }
    }

    /// The domain of a key, by its surest name.
    ///
    /// Ids and aliases say nothing of the account: an alias of the same name in another account is
    /// another key. So they count only where no ARN can decide, and only for a key of the caller's
    /// own account.
    #[must_use]
    pub fn domain_of(&self, key: &KeyRef, caller_account: Option<&str>) -> Option<&Domain> {
        let of = |name: &str| self.by_name.get(name).copied();
        let found = match &key.arn {
            None => [key.id.as_deref(), key.alias.as_deref()].into_iter().flatten().find_map(of),
            Some(arn) => of(arn).or_else(|| {
                let own = key.account().is_none_or(|owner| caller_account.is_none_or(|caller| caller == owner));
                let names = [key.id.as_deref(), key.alias.as_deref()].into_iter().flatten();
                names.filter_map(of).find(|named| own && !named.has_arn)
            }),
        };
        self.domains.get(found?.domain)
    }

    /// Whether an account is of the organisation; nothing when none is listed.
    #[must_use]
    pub fn trusts(&self, account: &str) -> Option<bool> {
        (!self.accounts.is_empty()).then(|| self.accounts.contains(account))
    }

    /// The alias that the inventory gives for a key.
    #[must_use]
    pub fn alias_of(&self, key: &KeyRef) -> Option<&str> {
        let name = key.arn.as_deref().or(key.id.as_deref())?;
        self.aliases.get(name).map(String::as_str)
    }
}

struct Builder<'p> {
    path: &'p str,
    inventory: Inventory,
    mistakes: Vec<String>,
}

impl Builder<'_> {
    fn mistake<T>(&mut self, at: &Spanned<T>, what: &str) {
        let place = at.referenced;
        self.mistakes.push(format!("{}:{}:{}: {what}", self.path, place.line(), place.column()));
    }

    fn domain(&mut self, file: DomainFile) {
        let index = self.inventory.domains.len();
        if self.inventory.domains.iter().any(|domain| domain.name == file.name.value) {
            self.mistake(&file.name, &format!("domain '{}' is there already", file.name.value));
        }
        for key in &file.keys {
            self.key(index, key);
        }
        let expect = file.expect.iter().map(|line| self.expect(line)).collect();
        let never = file.never.iter().map(|pattern| self.principal(pattern)).collect();
        self.inventory.domains.push(Domain {
            name: file.name.value,
            tier: file.tier,
            owner: file.owner,
            expect,
            never,
            standing: Standing { attested: file.attested, decoy: file.decoy, retired: file.retired },
            key_names: file.keys.iter().flat_map(|key| key.value.names.clone()).collect(),
        });
    }

    fn organisation(&mut self, accounts: Vec<Spanned<String>>, regions: Vec<Spanned<String>>) {
        for account in accounts {
            if account.value.len() == 12 && account.value.bytes().all(|byte| byte.is_ascii_digit()) {
                self.inventory.accounts.insert(account.value);
            } else {
                let what = format!("'{}' is no account: twelve digits, in quotes", account.value);
                self.mistake(&account, &what);
            }
        }
        for region in regions {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if region.value.contains('-') && region.value.bytes().all(plain) {
                self.inventory.approved_regions.insert(region.value);
            } else {
                let what = format!("'{}' is no Region like eu-west-1", region.value);
                self.mistake(&region, &what);
            }
        }
    }

    fn supply_line(&mut self, resources: &[Spanned<String>]) {
        for text in resources {
            match Resource::parse(&text.value) {
                Ok(resource) => self.inventory.supply_line.extend([resource]),
                Err(error) => self.mistake(text, &error.to_string()),
            }
        }
    }

    fn key(&mut self, domain: usize, key: &Spanned<KeyFile>) {
        let mut alias = None;
        let mut has_arn = false;
        let mut names = Vec::new();
        for name in &key.value.names {
            let Some(parsed) = KeyRef::parse(name) else {
                self.mistake(key, &format!("'{name}' is no key ARN, key id or alias (alias/...)"));
                continue;
            };
            alias = alias.or(parsed.alias);
            has_arn |= parsed.arn.is_some();
            names.extend([parsed.arn, parsed.id].into_iter().flatten());
        }
        if let Some(alias) = alias {
            for name in &names {
                self.inventory.aliases.insert(name.clone(), alias.clone());
            }
            names.push(alias);
        }
        if key.value.names.is_empty() {
            self.mistake(key, "a key without a name; give arn, id or alias");
        }
        for name in names {
            if let Some(other) = self.inventory.by_name.insert(name.clone(), Named { domain, has_arn })
                && other.domain != domain
            {
                let other = self.inventory.domains.get(other.domain).map_or("", |domain| &domain.name).to_owned();
                self.mistake(key, &format!("key '{name}' belongs to domain '{other}' already"));
            }
        }
    }

    fn expect(&mut self, line: &ExpectFile) -> Expect {
        for operation in &line.operations {
            let pattern = NamePattern::new(&operation.value);
            let grants = ["ReEncryptFrom", "ReEncryptTo"];
            let known = OPERATIONS.iter().map(|known| known.name).chain(grants);
            if !known.clone().any(|name| pattern.matches(name)) {
                let near = known.min_by_key(|name| strsim::damerau_levenshtein(name, &operation.value)).unwrap_or("");
                let what = format!("no KMS operation is called '{}'; did you mean {near}?", operation.value);
                self.mistake(operation, &what);
            }
        }
        Expect {
            principals: line.principals.iter().map(|pattern| self.principal(pattern)).collect(),
            operations: line.operations.iter().map(|operation| NamePattern::new(&operation.value)).collect(),
            context: line.context.iter().map(|(name, value)| (name.clone(), NamePattern::new(value))).collect(),
            via: line.via.iter().map(|via| NamePattern::new(via)).collect(),
        }
    }

    fn principal(&mut self, text: &Spanned<String>) -> NamePattern {
        let value = text.value.trim();
        if value.contains(":assumed-role/") {
            self.mistake(
                text,
                "sessions are known by their role: write arn:aws:iam::ACCOUNT:role/NAME instead of the sts ARN",
            );
        } else if value != "*" && !value.contains(':') {
            self.mistake(
                text,
                &format!("'{value}' is no principal; write an ARN, service:NAME.amazonaws.com, account:... or idc:..."),
            );
        }
        NamePattern::new(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "domains:
  - name: token-vault
    tier: critical
    keys:
      - {alias: alias/vault, arn: 'arn:aws:kms:eu-west-1:111122223333:key/k-1'}
      - mrk-77
    expect:
      - principals: ['arn:aws:iam::111122223333:role/pay']
        operations: [Encrypt, 'Generate*']
    never: ['arn:aws:iam::*:role/developer-*']
";

    #[test]
    fn a_key_is_found_by_any_of_its_names() {
        let inventory = Inventory::parse("keys.yml", GOOD).unwrap();
        for name in ["arn:aws:kms:eu-west-1:111122223333:key/k-1", "k-1", "alias/vault", "mrk-77"] {
            assert_eq!(inventory.domain_of(&KeyRef::parse(name).unwrap(), None).unwrap().name, "token-vault", "{name}");
        }
        assert!(inventory.domain_of(&KeyRef::parse("k-2").unwrap(), None).is_none());
        assert_eq!(inventory.alias_of(&KeyRef::parse("k-1").unwrap()), Some("alias/vault"));
        assert_eq!(inventory.alias_of(&KeyRef::parse("mrk-77").unwrap()), None);
    }

    /// A foreign key under an alias of our name, used by a principal that is expected to use ours.
    #[test]
    fn a_key_of_another_account_is_not_ours_by_its_alias() {
        let inventory = Inventory::parse("keys.yml", GOOD).unwrap();
        let key = |account: &str, id: &str, alias: &str| KeyRef {
            arn: Some(format!("arn:aws:kms:eu-west-1:{account}:key/{id}")),
            id: Some(id.to_owned()),
            alias: Some(alias.to_owned()),
            ..KeyRef::default()
        };
        let found = |key: &KeyRef| inventory.domain_of(key, Some("111122223333")).is_some();
        assert!(!found(&key("999988887777", "k-9", "alias/vault")), "the inventory knows the ARN of alias/vault");
        assert!(
            !found(&key("111122223333", "k-9", "alias/vault")),
            "nor is another key of ours, when the alias was moved"
        );
        assert!(!found(&key("999988887777", "mrk-77", "")), "an id alone does not reach into another account");
        assert!(found(&key("111122223333", "mrk-77", "")));
        assert!(found(&key("111122223333", "k-1", "")));
    }

    #[test]
    fn every_mistake_is_named_with_its_place() {
        let text = GOOD
            .replace("Encrypt,", "Encrpyt,")
            .replace("- mrk-77", "- 'arn:aws:s3:::b'")
            .replace("role/pay'", "x:assumed-role/pay/s'")
            + "  - name: token-vault\n    keys: [k-1]\n    never: [bob]\n";
        let error = Inventory::parse("keys.yml", &text).unwrap_err();
        let got = error.to_string();
        for expected in [
            "keys.yml:6:9: 'arn:aws:s3:::b' is no key",
            "keys.yml:9:22: no KMS operation is called 'Encrpyt'; did you mean Encrypt?",
            "write arn:aws:iam::ACCOUNT:role/NAME",
            "keys.yml:11:11: domain 'token-vault' is there already",
            "keys.yml:12:12: key 'k-1' belongs to domain 'token-vault' already",
            "keys.yml:13:13: 'bob' is no principal",
        ] {
            assert!(got.contains(expected), "{expected} is not in\n{got}");
        }
        let odd =
            Inventory::parse("keys.yml", "accounts: [123]\napproved_regions: [Ireland]\nsupply_line: [kmswatch]\n");
        let odd = odd.unwrap_err().to_string();
        for expected in ["1:12: '123' is no account", "2:20: 'Ireland' is no Region", "3:15: 'kmswatch' is no ARN"] {
            assert!(odd.contains(expected), "{odd}");
        }
        let typo = Inventory::parse("keys.yml", &GOOD.replace("tier:", "teir:")).unwrap_err().to_string();
        assert!(typo.starts_with("keys.yml:3:5: ") && typo.contains("teir"), "{typo}");
    }
}
