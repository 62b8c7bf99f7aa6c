//! The `correlation:` block as written: what is counted over windows of event time. References to
//! other rules are followed by `link`.

use rsigma_parser::{ConditionExpr, Quantifier, Timespan, parse_condition};

use super::detector::{Aggregate, Bound, Bounds, Present};
use super::diagnostic::{Code, Diagnostics, nearest};
use super::extension::texts;
use super::locate::{Data, Node, Place};
use crate::time::Span;

/// A correlation as written.
#[derive(Clone, Debug)]
pub struct Correlation {
    /// What it counts, by id or name; each is a step.
    pub rules: Vec<(String, Place)>,
    /// What it groups by: fields, or names of aliases.
    pub group_by: Vec<(String, Place)>,
    /// Names that stand for another field in each rule.
    pub aliases: Vec<Alias>,
    /// The window.
    pub timespan: Span,
    /// What is asked of the window; nothing when it was mistaken.
    pub counted: Option<Counted>,
    /// Whether the rules that it counts also open incidents of their own.
    pub generate: bool,
}

/// A name that stands for another field in each rule.
#[derive(Clone, Debug)]
pub struct Alias {
    /// The name.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// Reference to a rule, its place, and the field.
    pub of: Vec<(String, Place, String)>,
}

/// What is asked of a window.
#[derive(Clone, Debug)]
pub enum Counted {
    /// Records.
    Events(Bounds),
    /// Distinct values of fields taken together.
    Values(Vec<(String, Place)>, Bounds),
    /// A number made of the numbers of a field.
    Number((String, Place), Aggregate, Bounds),
    /// Which rules matched.
    Temporal(Present),
    /// All rules in their order.
    Ordered,
}

const KEYS: &[&str] = &["type", "rules", "group-by", "timespan", "condition", "generate", "aliases"];
const TYPES: &[&str] = &[
    "event_count",
    "value_count",
    "temporal",
    "temporal_ordered",
    "value_sum",
    "value_avg",
    "value_percentile",
    "value_median",
];
/// More rules than a correlation ever names; steps are bits of a word.
const MAX_STEPS: usize = 64;

/// Reads the block of a rule; what is mistaken in it is noted.
pub fn read(rule: &Node, block: &Node, diagnostics: &mut Diagnostics<'_>) -> Correlation {
    for (key, _) in block.members().iter().filter(|(key, _)| !KEYS.contains(&key.text.as_str())) {
        diagnostics.unknown(Code::UnknownKey, key.place, "key", &key.text, KEYS.iter().copied());
    }
    let rules = block.get("rules").map(|list| texts(list, "the name or id of a rule", diagnostics));
    let rules = rules.unwrap_or_default();
    if rules.is_empty() {
        diagnostics.error(Code::MissingKey, block.place, "a correlation needs `rules`", None);
    }
    if rules.len() > MAX_STEPS {
        let message = format!("a correlation takes at most {MAX_STEPS} rules");
        diagnostics.error(Code::BadValue, block.key_place("rules"), message, None);
    }
    let group_by = block.get("group-by").map(|list| texts(list, "the name of a field", diagnostics));
    Correlation {
        group_by: group_by.unwrap_or_default(),
        aliases: aliases(block, diagnostics),
        timespan: timespan(block, diagnostics).unwrap_or(Span::ZERO),
        counted: counted(block, &rules, diagnostics),
        generate: generate(rule, block, diagnostics),
        rules,
    }
}

/// Sigma's schema has it beside the block, and most rules have it within.
fn generate(rule: &Node, block: &Node, diagnostics: &mut Diagnostics<'_>) -> bool {
    match block.get("generate").or_else(|| rule.get("generate")).map(|node| (&node.data, node.place)) {
        None => false,
        Some((Data::Bool(generate), _)) => *generate,
        Some((_, place)) => {
            diagnostics.error(Code::BadValue, place, "`generate` is `true` or `false`", None);
            false
        }
    }
}

fn aliases(block: &Node, diagnostics: &mut Diagnostics<'_>) -> Vec<Alias> {
    let Some(node) = block.get("aliases") else { return Vec::new() };
    let mut read = Vec::new();
    for (name, fields) in node.members() {
        let mut of = Vec::new();
        for (rule, field) in fields.members() {
            match field.scalar_text() {
                Some(path) => of.push((rule.text.clone(), rule.place, path)),
                None => diagnostics.error(Code::BadValue, field.place, "the name of a field was expected", None),
            }
        }
        if of.is_empty() {
            let help = Some("give for each rule the field: `who: {rule_a: kms.principal, rule_b: kms.grantee}`".into());
            diagnostics.error(Code::BadValue, name.place, format!("alias `{}` stands for nothing", name.text), help);
        }
        read.push(Alias { name: name.text.clone(), place: name.place, of });
    }
    if node.members().is_empty() {
        diagnostics.error(Code::BadValue, node.place, "`aliases` is a map of names", None);
    }
    read
}

fn counted(block: &Node, rules: &[(String, Place)], diagnostics: &mut Diagnostics<'_>) -> Option<Counted> {
    let kind = block.get("type").and_then(Node::scalar_text).unwrap_or_default();
    let place = block.key_place("type");
    match kind.as_str() {
        "event_count" => Some(Counted::Events(bounds(block, true, diagnostics)?)),
        "value_count" => {
            let bounds = bounds(block, true, diagnostics);
            let field = fields(block, &kind, diagnostics)?;
            Some(Counted::Values(field, bounds?))
        }
        "value_sum" | "value_avg" | "value_median" | "value_percentile" => {
            let how = aggregate(&kind, block, diagnostics);
            let bounds = bounds(block, false, diagnostics);
            let mut field = fields(block, &kind, diagnostics)?;
            if let Some((_, place)) = field.get(1) {
                diagnostics.error(Code::BadValue, *place, format!("a {kind} takes one `field`"), None);
            }
            Some(Counted::Number(field.pop()?, how?, bounds?))
        }
        "temporal" => Some(Counted::Temporal(present(block, rules, diagnostics)?)),
        "temporal_ordered" => {
            if let Some(condition) = block.get("condition").filter(|condition| !wants_all(condition, rules.len())) {
                let help = Some("the order of `rules` is the condition: leave it out".to_owned());
                let message = "a temporal_ordered wants all of its `rules`, in their order";
                diagnostics.error(Code::Unsupported, condition.place, message, help);
            }
            Some(Counted::Ordered)
        }
        "" => {
            diagnostics.error(Code::MissingKey, place, "a correlation needs a `type`", None);
            None
        }
        other => {
            diagnostics.unknown(Code::BadValue, place, "correlation type", other, TYPES.iter().copied());
            None
        }
    }
}

fn aggregate(kind: &str, block: &Node, diagnostics: &mut Diagnostics<'_>) -> Option<Aggregate> {
    match kind {
        "value_sum" => return Some(Aggregate::Sum),
        "value_avg" => return Some(Aggregate::Average),
        "value_median" => return Some(Aggregate::Percentile(50.0)),
        _ => {}
    }
    let rank = block.get("condition").and_then(|condition| condition.get("percentile"));
    // Without a rank Sigma means the median.
    let Some(rank) = rank else { return Some(Aggregate::Percentile(50.0)) };
    let number =
        rank.scalar_text().and_then(|text| text.parse::<f64>().ok()).filter(|rank| (0.0..=100.0).contains(rank));
    if number.is_none() {
        diagnostics.error(Code::BadValue, rank.place, "a percentile is a number from 0 to 100", None);
    }
    number.map(Aggregate::Percentile)
}

fn fields(block: &Node, kind: &str, diagnostics: &mut Diagnostics<'_>) -> Option<Vec<(String, Place)>> {
    let field = block.get("condition").and_then(|condition| condition.get("field"));
    let named = field.map(|field| texts(field, "the name of a field", diagnostics)).unwrap_or_default();
    if named.is_empty() {
        let help = Some("say whose values: `condition: {field: kms.object, gte: 20}`".to_owned());
        let place = block.get("condition").map_or(block.place, |_| block.key_place("condition"));
        diagnostics.error(Code::MissingKey, place, format!("a {kind} needs a `field`"), help);
        return None;
    }
    Some(named)
}

fn timespan(block: &Node, diagnostics: &mut Diagnostics<'_>) -> Option<Span> {
    let place = block.get("timespan").map_or(block.place, |node| node.place);
    let Some(text) = block.get("timespan").and_then(Node::scalar_text) else {
        diagnostics.error(Code::MissingKey, block.place, "a correlation needs a `timespan`", None);
        return None;
    };
    match Timespan::parse(&text) {
        Ok(timespan) if timespan.seconds > 0 => Some(Span::from_secs(timespan.seconds)),
        _ => {
            let help = Some("write it like 90s, 15m, 1h or 30d".to_owned());
            diagnostics.error(Code::BadSpan, place, format!("'{text}' is not a span of time"), help);
            None
        }
    }
}

/// The bounds of the `condition`. `count`: of a whole number of things.
fn bounds(block: &Node, count: bool, diagnostics: &mut Diagnostics<'_>) -> Option<Bounds> {
    let Some(condition) = block.get("condition") else {
        diagnostics.error(Code::MissingKey, block.place, "a correlation needs a `condition` like {gte: 10}", None);
        return None;
    };
    const OPERATORS: &[&str] = &["gte", "gt", "lte", "lt", "eq", "neq"];
    let mut read = Bounds::default();
    let mut sound = true;
    for (key, value) in condition.members() {
        let make = match key.text.as_str() {
            "gte" => Bound::Gte,
            "gt" => Bound::Gt,
            "lte" => Bound::Lte,
            "lt" => Bound::Lt,
            "eq" => Bound::Eq,
            "neq" => Bound::Neq,
            "field" | "percentile" => continue,
            other => {
                let known = OPERATORS.iter().copied().chain(["field", "percentile"]);
                diagnostics.unknown(Code::UnknownKey, key.place, "key", other, known);
                sound = false;
                continue;
            }
        };
        #[allow(clippy::cast_precision_loss, reason = "no rule counts beyond 2^52")]
        let number = match value.data {
            Data::Integer(number) if number >= 0 || !count => Some(number as f64),
            Data::Float(number) if !count && number.is_finite() => Some(number),
            _ => None,
        };
        match number {
            Some(number) => read.0.push(make(number)),
            None => {
                let what = if count { "not a whole number" } else { "not a number" };
                diagnostics.error(Code::BadValue, value.place, what, None);
                sound = false;
            }
        }
    }
    if sound && (read.0.is_empty() || (count && read.only_from_below() && read.hold(0.0))) {
        diagnostics.error(Code::BadValue, condition.place, "a `condition` needs `gte` or `gt` of one or more", None);
        return None;
    }
    sound.then_some(read)
}

/// Which rules a temporal correlation wants: all, or as its condition says.
fn present(block: &Node, rules: &[(String, Place)], diagnostics: &mut Diagnostics<'_>) -> Option<Present> {
    let step = |index: usize| Present::Step(u8::try_from(index).unwrap_or(u8::MAX));
    let Some(condition) = block.get("condition") else {
        return Some(Present::All((0..rules.len().min(MAX_STEPS)).map(step).collect()));
    };
    if !condition.members().is_empty() {
        return at_least(block, rules.len(), diagnostics);
    }
    let Some(text) = condition.scalar_text().filter(|text| text.len() < 4096) else {
        let help = Some("write it like `rule_a and rule_b`, or leave it out for all of them".to_owned());
        diagnostics.error(Code::BadCondition, condition.place, "a temporal condition is a line of text", help);
        return None;
    };
    let expression = match super::condition::check_size(&text) {
        Ok(()) => parse_condition(&text).map_err(|error| super::condition::in_words(&error.to_string())),
        Err(reason) => Err(reason),
    };
    let read = expression.and_then(|expression| present_of(&expression, rules, &step));
    if let Err(message) = &read {
        let help = message.strip_prefix("the condition names `").and_then(|rest| rest.split('`').next());
        let help = help.and_then(|name| nearest(name, rules.iter().map(|(rule, _)| rule.as_str())));
        let help = help.map(|near| format!("did you mean `{near}`?"));
        diagnostics.error(Code::BadCondition, condition.place, message, help);
    }
    read.ok()
}

/// Whether a condition says in numbers what an ordered correlation means anyhow.
fn wants_all(condition: &Node, rules: usize) -> bool {
    let [(key, value)] = condition.members() else { return false };
    let least = match (key.text.as_str(), &value.data) {
        ("gte" | "eq", Data::Integer(count)) => Some(*count),
        ("gt", Data::Integer(count)) => count.checked_add(1),
        _ => None,
    };
    least.and_then(|least| usize::try_from(least).ok()) == Some(rules)
}

/// The older way to write it: at least so many of the rules.
fn at_least(block: &Node, rules: usize, diagnostics: &mut Diagnostics<'_>) -> Option<Present> {
    let bounds = bounds(block, true, diagnostics)?;
    let least = (1..=u32::try_from(rules).unwrap_or(u32::MAX)).find(|count| bounds.hold(f64::from(*count)));
    let place = block.key_place("condition");
    if !bounds.only_from_below() {
        let help = Some("write it like `rule_a and not rule_b`".to_owned());
        diagnostics.error(Code::Unsupported, place, "a temporal condition counts by `gte` or `gt` only", help);
        return None;
    }
    if least.is_none() {
        diagnostics.error(Code::BadValue, place, format!("there are {rules} `rules`, and never more match"), None);
    }
    least.map(Present::AtLeast)
}

fn present_of(
    expression: &ConditionExpr,
    rules: &[(String, Place)],
    step: &impl Fn(usize) -> Present,
) -> Result<Present, String> {
    let each = |parts: &[ConditionExpr]| {
        parts.iter().map(|part| present_of(part, rules, step)).collect::<Result<Vec<_>, String>>()
    };
    Ok(match expression {
        ConditionExpr::And(parts) => Present::All(each(parts)?),
        ConditionExpr::Or(parts) => Present::Any(each(parts)?),
        ConditionExpr::Not(part) => Present::Not(Box::new(present_of(part, rules, step)?)),
        ConditionExpr::Identifier(name) => {
            let at = rules.iter().position(|(rule, _)| rule == name);
            step(at.ok_or_else(|| format!("the condition names `{name}`, which is not among `rules`"))?)
        }
        ConditionExpr::Selector { quantifier, pattern } => {
            let fits = rules.iter().enumerate().filter(|(_, (rule, _))| pattern.matches_detection_name(rule));
            let steps: Vec<_> = fits.map(|(index, _)| step(index)).collect();
            if steps.is_empty() {
                return Err(format!("`{pattern}` fits none of `rules`"));
            }
            match quantifier {
                Quantifier::Any | Quantifier::Count(1) => Present::Any(steps),
                Quantifier::All => Present::All(steps),
                Quantifier::Count(_) => return Err("write which rules, or `all of`".to_owned()),
            }
        }
    })
}
