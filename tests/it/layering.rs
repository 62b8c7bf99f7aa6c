//! The layout's arrows, read from the `use` lines: the core knows no I/O and no later layer, and
//! adapters never see each other.

use std::path::{Path, PathBuf};

/// The core, first layers first: a layer may use itself and those before it.
const CORE: &[&str] = &["time", "event", "keys", "rule", "engine", "alert", "pipeline::plan"];
/// Adapters: each sees the core and its own module's trait, never another adapter.
const ADAPTERS: &[&str] = &["source", "sink", "store", "kms"];
/// What the core must not mention, whatever the spelling.
const FORBIDDEN_IN_CORE: &[&str] = &[
    "tokio",
    "async ",
    ".await",
    "aws_config",
    "aws_sdk",
    "aws_smithy",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "ToSocketAddrs",
    "std::env",
    "std::process",
    "SystemTime",
    "Instant::now",
    "thread_rng",
    "fastrand",
    "tracing::",
    "println!",
    "eprintln!",
    "Timestamp::now",
    "Zoned::now",
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// `src/pipeline/plan.rs` is `pipeline::plan`, `src/event/mod.rs` is `event`.
fn module_of(path: &Path, src: &Path) -> String {
    let relative = path.strip_prefix(src).unwrap().with_extension("");
    let parts: Vec<_> = relative.iter().map(|part| part.to_str().unwrap()).filter(|part| *part != "mod").collect();
    parts.join("::")
}

fn layer_of(module: &str) -> Option<usize> {
    CORE.iter().position(|layer| module == *layer || module.starts_with(&format!("{layer}::")))
}

/// Every `crate::a::b` path that the text mentions outside comments, as `a::b`.
fn mentioned(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        found.push(rest[..end].trim_end_matches(':').to_owned());
    }
    found
}

fn code_of(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    before_tests.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn breaches(module: &str, code: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    let top = module.split("::").next().unwrap_or("");
    if let Some(layer) = layer_of(module) {
        for word in FORBIDDEN_IN_CORE.iter().filter(|word| code.contains(**word)) {
            breaches.push(format!("{module} is of the core and mentions `{word}`"));
        }
        for used in mentioned(code) {
            let used_top = used.split("::").next().unwrap_or("");
            match layer_of(&used) {
                Some(other) if other <= layer => {}
                // The pure plan speaks the vocabulary of the traits it plans for.
                None if module.starts_with("pipeline::plan") && ["source", "store", "pipeline"].contains(&used_top) => {
                }
                _ => breaches.push(format!("{module} uses crate::{used}, which comes after it")),
            }
        }
    }
    if ADAPTERS.contains(&top) {
        for used in mentioned(code) {
            let used_top = used.split("::").next().unwrap_or("").to_owned();
            let own =
                used_top == top && used.split("::").nth(1).is_none_or(|item| !item.starts_with(char::is_lowercase));
            let sibling_file = used_top == top && module.split("::").count() == 2 && used.starts_with(module);
            // Pauses between tries know nothing of what is tried.
            let shell = ["telemetry", "config"].contains(&used_top.as_str()) || used.starts_with("pipeline::backoff");
            if !(own || sibling_file || shell || layer_of(&used).is_some()) {
                breaches.push(format!("adapter {module} uses crate::{used}"));
            }
        }
    }
    breaches
}

#[test]
fn arrows_point_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 5, "found only {files:?}");
    let mut found = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        found.extend(breaches(&module_of(&path, &src), &code_of(&text)));
    }
    assert!(found.is_empty(), "layering is broken:\n{}", found.join("\n"));
}

#[test]
fn a_broken_edge_is_seen() {
    assert_eq!(breaches("event::record", "use crate::engine::Engine;").len(), 1);
    assert_eq!(breaches("engine::window", "let now = std::time::Instant::now();").len(), 1);
    assert_eq!(breaches("sink::sns", "use crate::source::Receipt;").len(), 1);
    assert_eq!(breaches("sink::sns", "use crate::sink::terminal::Terminal;").len(), 1);
    assert!(breaches("sink::sns", "use crate::sink::{Sink, SinkError};\nuse crate::alert::Alert;").is_empty());
    assert!(breaches("rule::compile", "use crate::event::field::FieldId;").is_empty());
}
