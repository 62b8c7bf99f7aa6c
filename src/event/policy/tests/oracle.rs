//! A naive evaluator, written from the definition for requests of which everything is known, and what
//! must hold between it and the real one.
//!
//! It knows a small world: two accounts, four callers, a few actions and keys.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;

const OWNER: &str = "111122223333";
const OTHER: &str = "999988887777";
const CALLERS: &[&str] = &[
    "arn:aws:iam::111122223333:user/ann",
    "arn:aws:sts::111122223333:assumed-role/pay/one",
    "arn:aws:iam::111122223333:root",
    "arn:aws:iam::999988887777:user/bo",
    "logs.amazonaws.com",
];
const ACTIONS: &[&str] = &["kms:Decrypt", "kms:Encrypt", "kms:PutKeyPolicy"];
const KEYS: &[(&str, &[&str])] = &[
    ("kms:ViaService", &["s3.amazonaws.com", "ec2.amazonaws.com"]),
    ("aws:SourceIp", &["203.0.113.7", "198.51.100.1"]),
    ("kms:GrantOperations", &["Decrypt", "Encrypt"]),
];

/// What is known of a request: values by key; an empty list is absence.
type Known = BTreeMap<&'static str, Vec<&'static str>>;

// ---- the definition, for whole knowledge ----

fn naive_like(pattern: &str, text: &str) -> bool {
    match (pattern.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => (0..=text.len()).any(|skip| naive_like(&pattern[1..], &text[skip..])),
        (Some(p), Some(t)) => (p == '?' || p == t) && naive_like(&pattern[1..], &text[1..]),
        _ => false,
    }
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        value => vec![value.as_str().unwrap().to_owned()],
    }
}

fn naive_condition(operator: &str, given: &[&str], wanted: &[String]) -> bool {
    if operator == "Null" {
        return wanted.iter().any(|wanted| (wanted == "true") == given.is_empty());
    }
    let (set, rest) = match operator.split_once(':') {
        Some((set, rest)) => (set, rest),
        None => ("", operator),
    };
    let (plain, if_exists) = match rest.strip_suffix("IfExists") {
        Some(plain) => (plain, true),
        None => (rest, false),
    };
    let one = |given: &str| -> bool {
        let like = wanted.iter().any(|wanted| naive_like(wanted, given));
        let equal = wanted.iter().any(|wanted| wanted == given);
        let in_net = wanted.iter().any(|net| net == "203.0.113.0/24" && given.starts_with("203.0.113."));
        match plain {
            "StringEquals" => equal,
            "StringNotEquals" => !equal,
            "StringLike" => like,
            "StringNotLike" => !like,
            "IpAddress" => in_net,
            "NotIpAddress" => !in_net,
            other => unreachable!("{other}"),
        }
    };
    match (set, given) {
        (_, []) if if_exists => true,
        ("ForAllValues", given) => given.iter().all(|given| one(given)),
        ("ForAnyValue", given) => given.iter().any(|given| one(given)),
        (_, []) => plain.contains("Not"),
        // A key of one value.
        (_, given) => one(given[0]),
    }
}

/// Who the caller is by every name that a policy may use: itself, its role, its account.
fn names(caller: &str) -> Vec<&'static str> {
    match CALLERS.iter().position(|known| *known == caller).unwrap() {
        0 => vec!["arn:aws:iam::111122223333:user/ann"],
        1 => vec!["arn:aws:iam::111122223333:role/pay", "arn:aws:sts::111122223333:assumed-role/pay/one"],
        2 => vec!["111122223333"],
        3 => vec!["arn:aws:iam::999988887777:user/bo"],
        _ => vec!["logs.amazonaws.com"],
    }
}

fn account(caller: &str) -> Option<&str> {
    caller.starts_with("arn:").then(|| caller.split(':').nth(4).unwrap())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Allowed,
    Delegated,
    Denied,
    Nothing,
}

/// The statements are about all the names the generator makes; `NotPrincipal` is left to the table.
fn naive(statements: &[Value], caller: &str, action: &str, known: &Known) -> Answer {
    let own = account(caller) == Some(OWNER);
    let external = account(caller).is_some_and(|account| account != OWNER);
    if external && action == "kms:PutKeyPolicy" {
        return Answer::Nothing;
    }
    let mut found = Answer::Nothing;
    for statement in statements {
        let fits = |patterns: &Value| {
            strings(patterns).iter().any(|pattern| naive_like(&pattern.to_lowercase(), &action.to_lowercase()))
        };
        let has_action = match statement.get("NotAction") {
            Some(patterns) => !fits(patterns),
            None => fits(&statement["Action"]),
        };
        let principals: Vec<String> = match &statement["Principal"] {
            Value::String(all) => vec![all.clone()],
            kinds => kinds.as_object().unwrap().values().flat_map(strings).collect(),
        };
        let meant = principals.iter().any(|name| name == "*" || names(caller).contains(&name.as_str()));
        let of_account = principals.iter().any(|name| account(caller) == Some(name));
        let conditions = statement.get("Condition").and_then(Value::as_object).into_iter().flatten();
        let met = conditions.into_iter().all(|(operator, keys)| {
            keys.as_object()
                .unwrap()
                .iter()
                .all(|(key, wanted)| naive_condition(operator, &known[key.as_str()], &strings(wanted)))
        });
        if !(has_action && met && (meant || of_account)) {
            continue;
        }
        if statement["Effect"] == "Deny" {
            return Answer::Denied;
        }
        let answer = if meant && (own || account(caller).is_none()) { Answer::Allowed } else { Answer::Delegated };
        if found != Answer::Allowed {
            found = answer;
        }
    }
    // A Deny that comes later still wins.
    found
}

fn naive_in_any_order(statements: &[Value], caller: &str, action: &str, known: &Known) -> Answer {
    let denies = statements.iter().filter(|statement| statement["Effect"] == "Deny");
    let allows = statements.iter().filter(|statement| statement["Effect"] == "Allow");
    let ordered: Vec<Value> = denies.chain(allows).cloned().collect();
    naive(&ordered, caller, action, known)
}

fn answer(decision: &Decision) -> Option<Answer> {
    match decision {
        Decision::Allowed { .. } => Some(Answer::Allowed),
        Decision::Delegated { .. } => Some(Answer::Delegated),
        Decision::Denied { .. } => Some(Answer::Denied),
        Decision::NotAllowed(_) => Some(Answer::Nothing),
        Decision::Uncertain { .. } => None,
    }
}

// ---- the small world ----

fn principal() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!("*")),
        Just(json!({"Service": "logs.amazonaws.com"})),
        prop::collection::vec(
            prop::sample::select(vec![
                "*",
                OWNER,
                OTHER,
                "arn:aws:iam::111122223333:user/ann",
                "arn:aws:iam::111122223333:role/pay",
                "arn:aws:sts::111122223333:assumed-role/pay/one",
                "arn:aws:sts::111122223333:assumed-role/pay/two",
                "arn:aws:iam::999988887777:user/bo",
                "AROAEXAMPLE",
            ]),
            1..3
        )
        .prop_map(|names| json!({ "AWS": names })),
    ]
}

fn condition() -> impl Strategy<Value = Value> {
    let text = prop::sample::select(vec![
        "StringEquals",
        "StringNotEquals",
        "StringLike",
        "StringNotLike",
        "StringEqualsIfExists",
        "StringNotLikeIfExists",
    ]);
    let via = (text, prop::sample::subsequence(vec!["s3.amazonaws.com", "s3.*", "*", "ec2.amazonaws.???"], 1..3))
        .prop_map(|(operator, values)| json!({ operator: { "kms:ViaService": values } }));
    let address = prop::sample::select(vec!["IpAddress", "NotIpAddress", "IpAddressIfExists"])
        .prop_map(|operator| json!({ operator: { "aws:SourceIp": "203.0.113.0/24" } }));
    let sets = prop::sample::select(vec![
        "ForAllValues:StringEquals",
        "ForAnyValue:StringEquals",
        "ForAllValues:StringNotEquals",
        "ForAnyValue:StringNotEquals",
        "ForAnyValue:StringLikeIfExists",
    ]);
    let many = sets.prop_map(|operator| json!({ operator: { "kms:GrantOperations": ["Decrypt"] } }));
    let null = (prop::sample::select(vec!["kms:ViaService", "kms:GrantOperations"]), any::<bool>())
        .prop_map(|(key, absent)| json!({ "Null": { key: absent.to_string() } }));
    prop_oneof![3 => Just(json!({})), 2 => via, 1 => address, 1 => many, 1 => null]
}

fn statement() -> impl Strategy<Value = Value> {
    let actions = prop::sample::subsequence(vec!["kms:*", "kms:Decrypt", "kms:E*", "KMS:put?eyPolicy", "s3:*"], 1..3);
    (prop::bool::weighted(0.75), principal(), any::<bool>(), actions, condition()).prop_map(
        |(allow, principal, not, actions, condition)| {
            let effect = if allow { "Allow" } else { "Deny" };
            let action = if not && actions[0] != "kms:*" { "NotAction" } else { "Action" };
            json!({"Effect": effect, "Principal": principal, action: actions, "Resource": "*", "Condition": condition})
        },
    )
}

fn known() -> impl Strategy<Value = Known> {
    let one = |at: usize| prop::sample::subsequence(KEYS[at].1.to_vec(), 0..2);
    (one(0), one(1), prop::sample::subsequence(KEYS[2].1.to_vec(), 0..3)).prop_map(|(via, address, operations)| {
        Known::from([(KEYS[0].0, via), (KEYS[1].0, address), (KEYS[2].0, operations)])
    })
}

fn decide(statements: &[Value], caller: &str, action: &str, known: &Known) -> Decision {
    let policy = Policy::of_value(&json!({"Version": "2012-10-17", "Statement": statements})).unwrap();
    let context = known.iter().fold(Context::new(), |context, (key, values)| context.with(key, values.iter().copied()));
    let (action, owner) = (action.to_owned(), OWNER.to_owned());
    policy.decide(&Request { caller: Caller::of_name(caller), action, owner, key_arn: None, context })
}

fn facts(statements: &[Value]) -> PolicyFacts {
    read(&json!({"Version": "2012-10-17", "Statement": statements}).to_string(), Some(OWNER)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// With everything known the answer is the definition's.
    #[test]
    fn whole_knowledge_gives_the_definition(
        statements in prop::collection::vec(statement(), 0..5),
        caller in prop::sample::select(CALLERS),
        action in prop::sample::select(ACTIONS),
        known in known(),
    ) {
        let decision = decide(&statements, caller, action, &known);
        prop_assert_eq!(answer(&decision), Some(naive_in_any_order(&statements, caller, action, &known)), "{:?}", decision);
    }

    /// More knowledge only settles: what is said with less is still so with all, but that a choice of
    /// IAM policies may turn out to be an Allow, and what nothing allows to be denied on top.
    #[test]
    fn more_knowledge_only_settles(
        statements in prop::collection::vec(statement(), 0..5),
        caller in prop::sample::select(CALLERS),
        action in prop::sample::select(ACTIONS),
        known in known(),
        told in prop::sample::subsequence(vec![0_usize, 1, 2], 0..3),
    ) {
        let less: Known = told.iter().map(|at| (KEYS[*at].0, known[KEYS[*at].0].clone())).collect();
        let early = answer(&decide(&statements, caller, action, &less));
        let late = answer(&decide(&statements, caller, action, &known));
        let may_become = [(Answer::Delegated, Answer::Allowed), (Answer::Nothing, Answer::Denied)];
        let holds = early.is_none() || early == late || may_become.into_iter().any(|(from, to)| (early, late) == (Some(from), Some(to)));
        prop_assert!(holds, "{:?} became {:?}", early, late);
    }

    /// Whoever is let in is among those that the facts name.
    #[test]
    fn facts_forget_nobody(
        statements in prop::collection::vec(statement(), 0..5),
        known in known(),
    ) {
        let facts = facts(&statements);
        let lets_in = |caller: &str, action: &str| {
            matches!(naive_in_any_order(&statements, caller, action, &known), Answer::Allowed | Answer::Delegated)
        };
        if ACTIONS.iter().any(|action| lets_in(CALLERS[3], action)) {
            prop_assert!(facts.public || facts.external_accounts.contains(OTHER), "{:?}", facts);
        }
        if CALLERS[..3].iter().any(|caller| lets_in(caller, "kms:PutKeyPolicy")) {
            prop_assert!(!facts.owner_locked_out);
        }
    }

    /// Order, names and splitting of statements make no difference; a difference in what somebody may
    /// do, whatever is known, is told.
    #[test]
    fn a_diff_tells_what_counts_and_nothing_else(
        statements in prop::collection::vec(statement(), 0..4),
        others in prop::collection::vec(statement(), 0..4),
        turn in 0_usize..4,
        known in known(),
    ) {
        let policy = |statements: &[Value]| Policy::of_value(&json!({"Version": "2012-10-17", "Statement": statements})).unwrap();
        let mut same: Vec<Value> = statements.iter().flat_map(split).collect();
        if !same.is_empty() {
            let at = turn % same.len();
            same.rotate_left(at);
        }
        for (at, statement) in same.iter_mut().enumerate() {
            statement["Sid"] = json!(format!("S{at}"));
        }
        let nothing = diff(Some(&policy(&statements)), &policy(&same), Some(OWNER));
        prop_assert!(nothing.is_empty(), "{}", nothing.sentence());
        prop_assert_eq!(nothing.sentence(), "changes nothing that counts");

        let change = diff(Some(&policy(&statements)), &policy(&others), Some(OWNER));
        if change.is_empty() {
            for (caller, action) in CALLERS.iter().flat_map(|caller| ACTIONS.iter().map(move |action| (caller, action))) {
                prop_assert_eq!(
                    naive_in_any_order(&statements, caller, action, &known),
                    naive_in_any_order(&others, caller, action, &known)
                );
            }
        }
        prop_assert!(!change.sentence().is_empty() && change.sentence().chars().count() < 2000);
    }
}

/// One statement as several: one for each of its principals, or of its actions.
fn split(statement: &Value) -> Vec<Value> {
    let with = |member: &str, value: Value| {
        let mut one = statement.clone();
        one[member] = value;
        one
    };
    if let Some(names) = statement["Principal"].get("AWS") {
        return strings(names).into_iter().map(|name| with("Principal", json!({ "AWS": name }))).collect();
    }
    match statement.get("Action") {
        Some(actions) => strings(actions).into_iter().map(|action| with("Action", json!(action))).collect(),
        None => vec![statement.clone()],
    }
}
