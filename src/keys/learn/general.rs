//! Values of the encryption context in general: what they say of the kind of object, without the object.
//!
//! A context names the object that is encrypted: an S3 object, a secret's version, a volume. As a
//! value of expected use that would be outlived at once, and where the context is the application's
//! own it may be a customer's number, which does not belong into an inventory. So each value is
//! made general before it is counted, and a value that looks like data is not kept at all.
//!
//! An S3 bucket that gets an S3 Bucket Key changes its context from the object's ARN to the bucket's
//! (aws-facts 2.2, 10). Both are counted as the bucket, and expected as two patterns, the bucket and
//! what is below it; one pattern `bucket*` would let in `bucket2`.

use crate::event::key::arn_parts;

/// Stands for whatever value.
pub const ANY: &str = "*";
/// Longer values are data.
const MAX_VALUE_BYTES: usize = 256;
/// Longer words without an ARN are data.
const MAX_WORD_BYTES: usize = 48;

/// A value as it is counted; [`ANY`] for one that names an object or is data.
#[must_use]
pub fn general(name: &str, value: &str) -> String {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    // What would be read as a pattern cannot be written as a value.
    if value.is_empty() || value.len() > MAX_VALUE_BYTES || value.contains(['*', '?']) || !is_plain(value) {
        return ANY.to_owned();
    }
    if ["SecretVersionId", "aws:redshift:createtime", "aws-crypto-public-key"].into_iter().any(is) {
        return ANY.to_owned();
    }
    if let Some(parts) = arn_parts(value) {
        return match parts.service {
            "s3" => below(value, parts.resource, 1),
            // Directory buckets: `bucket/NAME`, and the object behind it.
            "s3express" => below(value, parts.resource, 2),
            _ if looks_like_an_object(parts.resource) => ANY.to_owned(),
            _ => of_arn(value, parts.service, parts.resource),
        };
    }
    // `vol-0abc`, `snap-0abc`, `db-ABCDE`: one for each volume, snapshot and database.
    if ["aws:ebs:id", "aws:rds:db-id", "aws:rds:dbc-id", "aws:elasticfilesystem:fs-id"].into_iter().any(is) {
        return match value.split_once('-') {
            Some((kind, _)) if kind.bytes().all(|byte| byte.is_ascii_lowercase()) => format!("{kind}-*"),
            _ => ANY.to_owned(),
        };
    }
    // A table's name may hold anything; it is a name all the same. So is an account.
    if is("aws:dynamodb:tableName") || is("aws:dynamodb:subscriberId") {
        return value.to_owned();
    }
    if looks_like_data(value) { ANY.to_owned() } else { value.to_owned() }
}

/// The patterns that a counted value is expected as.
#[must_use]
pub fn patterns(value: &str) -> Vec<String> {
    match arn_parts(value) {
        Some(parts) if parts.service == "s3" || parts.service == "s3express" => {
            vec![value.to_owned(), format!("{value}/*")]
        }
        Some(parts) if parts.service == "logs" => vec![value.to_owned(), format!("{value}:*")],
        Some(parts) if parts.service == "lambda" => vec![value.to_owned(), format!("{value}:*")],
        _ => vec![value.to_owned()],
    }
}

/// One pattern for many ARNs that share their account and the head of their resource; nothing when
/// they are no ARNs or share too little.
#[must_use]
pub fn in_common(values: &[&str]) -> Option<String> {
    let (first, rest) = values.split_first()?;
    let head = |arn: &str| arn_parts(arn).map(|parts| arn.len() - parts.resource.len());
    let header = head(first)?;
    let mut shared = *first;
    for value in rest {
        head(value).filter(|other| value.get(..*other) == first.get(..header))?;
        let length = shared.bytes().zip(value.bytes()).take_while(|(a, b)| a == b).count();
        shared = shared.get(..length)?;
    }
    // Whole segments: `parameter/app/` and not `parameter/app/prod-`.
    let end = shared.rfind(['/', ':'])? + 1;
    let has_kind = shared.get(header..end).is_some_and(|resource| !resource.is_empty());
    // `parameter/` alone says the kind and nothing of whose it is, yet the account is in the header.
    has_kind.then(|| shared.get(..end)).flatten().map(|shared| format!("{shared}*"))
}

/// The first `segments` of an S3 resource.
fn below(arn: &str, resource: &str, segments: usize) -> String {
    let header = arn.get(..arn.len() - resource.len()).unwrap_or_default();
    let kept: Vec<_> = resource.split('/').take(segments).collect();
    format!("{header}{}", kept.join("/"))
}

fn of_arn(arn: &str, service: &str, resource: &str) -> String {
    let header = arn.get(..arn.len() - resource.len()).unwrap_or_default();
    match service {
        // A secret made anew under its name gets other six letters.
        "secretsmanager" => match resource.rsplit_once('-') {
            Some((name, suffix)) if suffix.len() == 6 && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                format!("{header}{name}-??????")
            }
            _ => arn.to_owned(),
        },
        // `log-group:NAME`, without its stream; `function:NAME`, without version or alias.
        "logs" | "lambda" => {
            let kept: Vec<_> = resource.split(':').take(2).collect();
            format!("{header}{}", kept.join(":"))
        }
        _ => arn.to_owned(),
    }
}

/// Whether a resource ends in an id that is made for one object: a uuid, a long hexadecimal number.
fn looks_like_an_object(resource: &str) -> bool {
    let last = resource.rsplit(['/', ':']).next().unwrap_or(resource);
    is_uuid(last) || (last.len() >= 16 && last.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// Whether a value of a name that AWS does not own looks like data rather than a purpose: many
/// digits, an address, an id, a long word.
fn looks_like_data(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    value.len() > MAX_WORD_BYTES
        || value.contains(['@', ' ', '=', ','])
        || digits >= 4
        || letters < 2
        || is_uuid(value)
        || value.split(['-', '_', '/', ':', '.']).any(is_scrambled)
}

/// Capitals, small letters and digits mixed, as in base64.
fn is_scrambled(word: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| word.bytes().any(|byte| kind(&byte));
    word.len() >= 12 && has(u8::is_ascii_digit) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase)
}

fn is_plain(value: &str) -> bool {
    value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') && value.trim() == value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::pattern::NamePattern;

    #[test]
    fn objects_become_their_kind() {
        for (name, value, expected) in [
            ("aws:s3:arn", "arn:aws:s3:::bank-pii/customers/00042.json", "arn:aws:s3:::bank-pii"),
            ("aws:s3:arn", "arn:aws:s3:::bank-pii", "arn:aws:s3:::bank-pii"),
            (
                "aws:s3:arn",
                "arn:aws:s3express:eu-west-1:111122223333:bucket/fast--euw1-az1--x-s3/a/b",
                "arn:aws:s3express:eu-west-1:111122223333:bucket/fast--euw1-az1--x-s3",
            ),
            (
                "SecretARN",
                "arn:aws:secretsmanager:eu-west-1:111122223333:secret:fraud/model-AbC1d2",
                "arn:aws:secretsmanager:eu-west-1:111122223333:secret:fraud/model-??????",
            ),
            ("SecretVersionId", "v", "*"),
            ("aws:ebs:id", "vol-0a11ce", "vol-*"),
            ("aws:rds:db-id", "db-ABCDEFGH", "db-*"),
            (
                "aws:logs:arn",
                "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/lambda/pay:log-stream:x",
                "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/lambda/pay",
            ),
            (
                "aws:lambda:FunctionArn",
                "arn:aws:lambda:eu-west-1:111122223333:function:pay:7",
                "arn:aws:lambda:eu-west-1:111122223333:function:pay",
            ),
            (
                "PARAMETER_ARN",
                "arn:aws:ssm:eu-west-1:111122223333:parameter/app/db",
                "arn:aws:ssm:eu-west-1:111122223333:parameter/app/db",
            ),
            (
                "aws:backup:arn",
                "arn:aws:backup:eu-west-1:111122223333:recovery-point:00000001-0000-4000-8000-000000000000",
                "*",
            ),
            ("aws:dynamodb:tableName", "Orders2024-11-05", "Orders2024-11-05"),
            ("purpose", "tokenisation", "tokenisation"),
            ("purpose", "batch-2", "batch-2"),
            ("customer", "4711-0815", "*"),
            ("customer", "ann@bank.example", "*"),
            ("iban", "BE71096123456769", "*"),
            ("id", "00000001-0000-4000-8000-000000000000", "*"),
            ("token", "kJh3Gf7dS9aQw2", "*"),
            ("purpose", "a*b", "*"),
            ("purpose", "a\nb", "*"),
        ] {
            assert_eq!(general(name, value), expected, "{name} {value}");
        }
    }

    /// The switch to S3 Bucket Keys, both ways, and no other bucket with it.
    #[test]
    fn bucket_keys_change_nothing() {
        for learnt in ["arn:aws:s3:::bucket/a/b.json", "arn:aws:s3:::bucket"] {
            let patterns: Vec<_> =
                patterns(&general("aws:s3:arn", learnt)).iter().map(|text| NamePattern::new(text)).collect();
            let expected = |value: &str| patterns.iter().any(|pattern| pattern.matches(value));
            assert!(expected("arn:aws:s3:::bucket") && expected("arn:aws:s3:::bucket/x:y/z"), "{learnt}");
            assert!(!expected("arn:aws:s3:::bucket2") && !expected("arn:aws:s3:::bucket2/a"), "{learnt}");
        }
    }

    #[test]
    fn many_of_a_kind_have_something_in_common() {
        let parameter = |name: &str| format!("arn:aws:ssm:eu-west-1:111122223333:parameter/{name}");
        let values = [parameter("app/prod/db"), parameter("app/prod-2/key")];
        let texts: Vec<_> = values.iter().map(String::as_str).collect();
        assert_eq!(in_common(&texts), Some(parameter("app/*")));
        assert_eq!(in_common(&["arn:aws:ssm:eu-west-1:1:parameter/a", "arn:aws:ssm:eu-west-1:2:parameter/a"]), None);
        assert_eq!(in_common(&["a", "b"]), None);
        assert_eq!(in_common(&[]), None);
    }
}
