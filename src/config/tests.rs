use super::*;

fn parse(text: &str) -> Result<Settings, String> {
    Settings::parse("kmswatch.toml", text, &[]).map_err(|error| error.to_string())
}

const GOOD: &str =
    "[source]\nkind = \"directory\"\npath = \"captures\"\n\n[[sink]]\nkind = \"terminal\"\nmin_level = \"low\"\n";

#[test]
fn queue_and_topics_are_of_the_supply_line_without_being_named() {
    let kinds = |settings: &Settings| {
        let resources = settings.supply_line.resources().iter();
        resources.map(|resource| resource.kind.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&parse(EXAMPLE).unwrap()), ["queue", "topic"]);
    let more = format!("{GOOD}[supply_line]\nresources = [\"arn:aws:cloudtrail:eu-west-1:111122223333:trail/main\"]\n");
    assert_eq!(kinds(&parse(&more).unwrap()), ["trail"]);
    let odd = parse(&more.replace("arn:aws:cloudtrail", "main")).unwrap_err();
    assert!(odd.contains("kmswatch.toml:9:14: 'main:eu-west-1") && odd.contains("is no ARN"), "{odd}");
}

#[test]
fn keys_are_refreshed_only_when_asked_for() {
    assert!(parse(EXAMPLE).unwrap().keys_refresh.is_none());
    let with = |text: &str| parse(&format!("{GOOD}[keys_refresh]\n{text}\n"));
    assert!(with("regions = [\"eu-west-1\"]").unwrap().keys_refresh.is_none());
    let refresh = with("every = \"6h\"\nregions = [\"eu-west-1\", \"eu-west-2\"]\nprofiles = [\"a\", \"b\"]");
    let refresh = refresh.unwrap().keys_refresh.unwrap();
    let places: Vec<_> = refresh.places.iter().map(ToString::to_string).collect();
    assert_eq!(places[..3], ["eu-west-1 (profile a)", "eu-west-2 (profile a)", "eu-west-1 (profile b)"]);
    assert_eq!((refresh.every, refresh.per_second), (Duration::from_secs(21_600), DEFAULT_PER_SECOND));
    for (text, expected) in [
        ("every = \"6h\"", "kmswatch.toml:9:9: [keys_refresh] needs `regions`"),
        ("every = \"1s\"\nregions = [\"eu-west-1\"]", "kmswatch.toml:9:9: `every` is a time between 5m and 30d"),
        ("every = \"often\"\nregions = [\"eu-west-1\"]", "`every` is a time"),
    ] {
        let said = with(text).unwrap_err();
        assert!(said.contains(expected), "{text}: {said}");
    }
}

#[test]
fn the_example_and_the_least_are_read() {
    assert!(matches!(parse(EXAMPLE).unwrap().source, SourceSettings::Sqs { .. }));
    let settings = parse(GOOD).unwrap();
    assert_eq!((settings.sinks.len(), settings.sinks[0].min_level), (1, Level::Low));
    assert!(settings.admin.unwrap().ip().is_loopback());
    assert_eq!(parse("[source]\nkind = \"directory\"\npath = \"x\"").unwrap().sinks.len(), 1, "a terminal by default");
}

#[test]
fn every_mistake_has_its_place() {
    for (from, to, expected) in [
        ("path =", "pth =", "kmswatch.toml:3:1: unknown field `pth`"),
        ("path =", "pth =", "did you mean `path`?"),
        ("\"directory\"", "\"sqs\"", "kmswatch.toml:2:8: a source of kind sqs needs `queue_url`"),
        ("\"directory\"", "\"kafka\"", "no source is of kind 'kafka'"),
        ("\"low\"", "\"lo\"", "kmswatch.toml:7:13: 'lo' is not a level"),
        ("\"terminal\"", "\"sns\"\ntopic_arn = \"x\"", "kmswatch.toml:7:13: `topic_arn` is the ARN"),
        ("[source]", "[source", "kmswatch.toml:1:"),
        ("[source]", "[admin]\nlisten = \"everywhere\"\n[source]", "kmswatch.toml:2:10: `listen` is"),
        (
            "kind = \"directory\"",
            "kind = \"sqs\"\nqueue_url = \"https://q\"\nwait_secs = 60",
            "`wait_secs` is between 0 and 20",
        ),
    ] {
        let said = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
        assert!(said.contains(expected), "{to}: {said}");
    }
    let two = GOOD.replace("\"directory\"", "\"kafka\"").replace("\"low\"", "\"lo\"");
    assert_eq!(parse(&two).unwrap_err().lines().count(), 2);
}

#[test]
fn the_environment_lies_over_the_file() {
    let set = |name: &str, value: &str| {
        let environment = [(name.to_owned(), value.to_owned()), ("PATH".to_owned(), "/bin".to_owned())];
        Settings::parse("f", GOOD, &environment).map_err(|error| error.to_string())
    };
    assert!(
        matches!(set("KMSWATCH_SOURCE__PATH", "123x").unwrap().source, SourceSettings::Directory { path, .. } if path.as_os_str() == "123x")
    );
    assert_eq!(set("KMSWATCH_SINK__0__MIN_LEVEL", "high").unwrap().sinks[0].min_level, Level::High);
    assert_eq!(set("KMSWATCH_LIMITS__MAX_BATCH", "7").unwrap().max_batch, 7);
    assert!(set("KMSWATCH_SINK__9__MIN_LEVEL", "high").unwrap_err().starts_with("KMSWATCH_SINK__9__MIN_LEVEL:"));
    assert!(set("KMSWATCH_SOURCE__PAHT", "x").unwrap_err().contains("did you mean `path`?"));
}
