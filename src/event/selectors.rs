//! What a trail still logs of KMS after PutEventSelectors: the four ways to leave it out.
//!
//! A trail can drop KMS by `excludeManagementEventSources`, by an advanced selector on
//! `eventSource`, by logging only reads or only writes, or by logging no management events at all
//! (aws-facts 1.4). The verdict is the union over all selectors: one that still takes everything of
//! KMS makes the trail whole.

use serde_json::Value;

/// Whether selectors leave out any management events of KMS. Nothing when the call carried none.
#[must_use]
pub fn blinds_kms(basic: &[&Value], advanced: &[&Value]) -> Option<bool> {
    if basic.is_empty() && advanced.is_empty() {
        return None;
    }
    let coverage = basic
        .iter()
        .map(|selector| basic_coverage(selector))
        .chain(advanced.iter().map(|selector| advanced_coverage(selector)))
        .fold(Coverage::default(), Coverage::union);
    Some(!(coverage.reads && coverage.writes))
}

#[derive(Clone, Copy, Default)]
struct Coverage {
    reads: bool,
    writes: bool,
}

impl Coverage {
    fn union(self, other: Self) -> Self {
        Self { reads: self.reads || other.reads, writes: self.writes || other.writes }
    }
}

const KMS: &str = "kms.amazonaws.com";

fn basic_coverage(selector: &Value) -> Coverage {
    let excluded = strings(selector.get("excludeManagementEventSources")).any(|source| source == KMS);
    // Some exports write booleans as text.
    let is_off = |value: &Value| value == &Value::Bool(false) || value.as_str() == Some("false");
    let includes = !selector.get("includeManagementEvents").is_some_and(is_off);
    if excluded || !includes {
        return Coverage::default();
    }
    match selector.get("readWriteType").and_then(Value::as_str) {
        Some("ReadOnly") => Coverage { reads: true, writes: false },
        Some("WriteOnly") => Coverage { reads: false, writes: true },
        _ => Coverage { reads: true, writes: true },
    }
}

fn advanced_coverage(selector: &Value) -> Coverage {
    let mut coverage = Coverage { reads: true, writes: true };
    let mut management = false;
    let fields = selector.get("fieldSelectors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for field in fields {
        match field.get("field").and_then(Value::as_str).unwrap_or_default() {
            "eventCategory" => management = admits(field, "Management"),
            "eventSource" if !admits(field, KMS) => return Coverage::default(),
            "eventSource" => {}
            "readOnly" => {
                coverage.reads &= admits(field, "true");
                coverage.writes &= admits(field, "false");
            }
            // Any other condition (eventName, userIdentity.arn, ...) leaves something out.
            _ => return Coverage::default(),
        }
    }
    if management { coverage } else { Coverage::default() }
}

/// Whether one field selector lets a value pass: all its operators must.
fn admits(field: &Value, value: &str) -> bool {
    let list = |operator: &str| strings(field.get(operator));
    let any_of =
        |operator: &str, test: &dyn Fn(&str) -> bool| field.get(operator).is_none() || list(operator).any(test);
    let none_of = |operator: &str, test: &dyn Fn(&str) -> bool| !list(operator).any(test);
    any_of("equals", &|text| text == value)
        && any_of("startsWith", &|text| value.starts_with(text))
        && any_of("endsWith", &|text| value.ends_with(text))
        && none_of("notEquals", &|text| text == value)
        && none_of("notStartsWith", &|text| value.starts_with(text))
        && none_of("notEndsWith", &|text| value.ends_with(text))
}

fn strings(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default().iter().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn basic(selectors: Value) -> Option<bool> {
        blinds_kms(&selectors.as_array().unwrap().iter().collect::<Vec<_>>(), &[])
    }

    fn advanced(fields: Value) -> Option<bool> {
        blinds_kms(&[], &[&json!({ "fieldSelectors": fields })])
    }

    #[test]
    fn four_ways_to_leave_kms_out_and_the_whole_trail() {
        assert_eq!(blinds_kms(&[], &[]), None);
        assert_eq!(
            basic(
                json!([{"readWriteType": "All", "includeManagementEvents": true, "excludeManagementEventSources": []}])
            ),
            Some(false)
        );
        assert_eq!(
            basic(
                json!([{"readWriteType": "All", "includeManagementEvents": true, "excludeManagementEventSources": [KMS]}])
            ),
            Some(true)
        );
        assert_eq!(basic(json!([{"readWriteType": "WriteOnly", "includeManagementEvents": true}])), Some(true));
        assert_eq!(basic(json!([{"readWriteType": "All", "includeManagementEvents": false}])), Some(true));
        assert_eq!(basic(json!([{"readWriteType": "All", "includeManagementEvents": "false"}])), Some(true));
        assert_eq!(basic(json!([{"readWriteType": "WriteOnly"}, {"readWriteType": "ReadOnly"}])), Some(false));
        let management = json!({"field": "eventCategory", "equals": ["Management"]});
        assert_eq!(advanced(json!([management])), Some(false));
        assert_eq!(advanced(json!([management, {"field": "eventSource", "notEquals": [KMS]}])), Some(true));
        assert_eq!(
            advanced(json!([management, {"field": "eventSource", "notEquals": ["rdsdata.amazonaws.com"]}])),
            Some(false)
        );
        assert_eq!(advanced(json!([management, {"field": "eventSource", "notStartsWith": ["kms."]}])), Some(true));
        assert_eq!(advanced(json!([management, {"field": "readOnly", "equals": ["false"]}])), Some(true));
        assert_eq!(advanced(json!([management, {"field": "userIdentity.arn", "notEquals": ["arn:x"]}])), Some(true));
        assert_eq!(advanced(json!([{"field": "eventCategory", "equals": ["Data"]}])), Some(true));
    }
}
