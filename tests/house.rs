//! The house rules that a machine can check: size of files, imports in one direction, and that the
//! guide in `docs/architecture.md` leads somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const MOST_LINES: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                rust_files(&path, found);
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn crates() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("crates")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.join("src").is_dir()).collect()
}

#[test]
fn no_file_is_longer_than_can_be_read_at_once() {
    let mut files = Vec::new();
    for folder in ["crates", "examples", "benches", "tests", "downstream"] {
        rust_files(&root().join(folder), &mut files);
    }
    assert!(files.len() > 200);
    let long: Vec<_> = files
        .iter()
        .map(|file| (file, fs::read_to_string(file).unwrap().lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .collect();
    assert!(long.is_empty(), "over {MOST_LINES} lines: {long:?}");
}

/// A crate's files by module path, `["model", "prefill"]`.
struct Modules {
    by_path: BTreeMap<Vec<String>, (PathBuf, String)>,
}

impl Modules {
    fn of(src: &Path) -> Self {
        let mut files = Vec::new();
        rust_files(src, &mut files);
        let by_path = files.into_iter().map(|file| {
            let inside = file.strip_prefix(src).unwrap().with_extension("");
            let parts = inside.iter().map(|part| part.to_str().unwrap().to_owned());
            let mut path: Vec<String> = parts.collect();
            if path
                .last()
                .is_some_and(|last| last == "mod" || last == "lib")
            {
                path.pop();
            }
            let text = code(&fs::read_to_string(&file).unwrap());
            (path, (file, text))
        });
        Self {
            by_path: by_path.collect(),
        }
    }

    fn is_folder(&self, path: &[String]) -> bool {
        let file = &self.by_path[path].0;
        matches!(
            file.file_name().and_then(|name| name.to_str()),
            Some("mod.rs" | "lib.rs")
        )
    }

    /// The files that a path from the crate's root leads to.
    fn resolve(&self, path: &[String]) -> BTreeSet<Vec<String>> {
        let known = (0..=path.len())
            .rev()
            .find(|&len| self.by_path.contains_key(&path[..len]));
        let Some(known) = known else {
            return BTreeSet::new();
        };
        let (module, rest) = path.split_at(known);
        match rest.first() {
            Some(item) if self.is_folder(module) => self.defining(module, item),
            _ => BTreeSet::from([module.to_vec()]),
        }
    }

    /// The files below a folder that define an item which the folder hands on.
    fn defining(&self, folder: &[String], item: &str) -> BTreeSet<Vec<String>> {
        let kinds = [
            "struct", "enum", "trait", "fn", "type", "const", "static", "union",
        ];
        let defines = |text: &str| {
            kinds.iter().any(|kind| {
                let wanted = format!("{kind} {item}");
                text.match_indices(&wanted).any(|(at, _)| {
                    let next = text[at + wanted.len()..].chars().next();
                    next.is_none_or(|c| !c.is_alphanumeric() && c != '_')
                })
            })
        };
        let below = self
            .by_path
            .iter()
            .filter(|(path, _)| path.starts_with(folder));
        let found = below.filter(|(_, (_, text))| defines(text));
        found.map(|(path, _)| path.clone()).collect()
    }

    /// Which files a file's code names.
    fn imports(&self, path: &[String]) -> BTreeSet<Vec<String>> {
        let text = &self.by_path[path].1;
        let parent = path[..path.len().saturating_sub(1)].to_vec();
        let starts = [
            ("crate::", Vec::new()),
            ("super::", parent),
            ("self::", path.to_vec()),
        ];
        let mut found = BTreeSet::new();
        for (start, base) in starts {
            for (at, _) in text.match_indices(start) {
                let before = text[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                    continue;
                }
                for tail in tails(&text[at + start.len()..]) {
                    let mut full = base.clone();
                    let mut tail = &tail[..];
                    while tail.first().is_some_and(|part| part == "super") {
                        full.pop();
                        tail = &tail[1..];
                    }
                    full.extend(tail.iter().cloned());
                    found.extend(self.resolve(&full));
                }
            }
        }
        found.remove(path);
        found
    }
}

/// Code without comments and without the tests at its end.
fn code(text: &str) -> String {
    let end = text.find("\n#[cfg(test)]\nmod ").unwrap_or(text.len());
    let end = end.min(text.find("\n#[cfg(all(test").unwrap_or(text.len()));
    let lines = text[..end].lines().map(|line| match line.find("//") {
        Some(at) => &line[..at],
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths that a use tree or a path expression spells: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn tails(text: &str) -> Vec<Vec<String>> {
    fn tree(text: &mut &str, before: &[String], out: &mut Vec<Vec<String>>) {
        let mut path = before.to_vec();
        loop {
            *text = text.trim_start();
            if let Some(rest) = text.strip_prefix('{') {
                *text = rest;
                loop {
                    *text = text.trim_start();
                    if let Some(rest) = text.strip_prefix('}') {
                        *text = rest;
                        return;
                    }
                    let length = text.len();
                    tree(text, &path, out);
                    *text = text.trim_start();
                    *text = text.strip_prefix(',').unwrap_or(text);
                    if text.len() == length {
                        return;
                    }
                }
            }
            let end = text
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(text.len());
            if end == 0 {
                return;
            }
            path.push(text[..end].to_owned());
            *text = &text[end..];
            match text.strip_prefix("::") {
                Some(rest) => *text = rest,
                None => {
                    if let Some(rest) = text.strip_prefix(" as ") {
                        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                        *text = &rest[end.unwrap_or(rest.len())..];
                    }
                    out.push(path);
                    return;
                }
            }
        }
    }
    let (mut rest, mut out) = (text, Vec::new());
    tree(&mut rest, &[], &mut out);
    out
}

#[test]
fn files_of_different_folders_do_not_import_each_other_in_a_circle() {
    let mut circles = Vec::new();
    for folder in crates() {
        let modules = Modules::of(&folder.join("src"));
        let leaves = modules
            .by_path
            .keys()
            .filter(|path| !modules.is_folder(path));
        let graph: BTreeMap<_, _> = leaves
            .map(|path| (path.clone(), modules.imports(path)))
            .collect();
        for (start, direct) in &graph {
            let mut reached = BTreeSet::new();
            let mut next: Vec<_> = direct.iter().collect();
            while let Some(path) = next.pop() {
                if reached.insert(path) {
                    next.extend(graph.get(path).into_iter().flatten());
                }
            }
            let folder_of = |path: &[String]| path[..path.len().saturating_sub(1)].to_vec();
            let mut others = reached.iter();
            let other = others.find(|other| {
                folder_of(other) != folder_of(start) && reaches(&graph, other, start)
            });
            if let Some(other) = other {
                let name = folder.file_name().unwrap().to_string_lossy().into_owned();
                circles.push(format!(
                    "{name}: {} and {}",
                    start.join("/"),
                    other.join("/")
                ));
            }
        }
    }
    assert!(circles.is_empty(), "{circles:#?}");
}

fn reaches(
    graph: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>,
    from: &[String],
    to: &[String],
) -> bool {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(path) = next.pop() {
        if path == to {
            return true;
        }
        if seen.insert(path) {
            next.extend(graph.get(path).into_iter().flatten().map(Vec::as_slice));
        }
    }
    false
}

#[test]
fn a_use_tree_is_read() {
    let joined = |text| {
        tails(text)
            .iter()
            .map(|path| path.join("/"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        joined("a::{b, c::{d as e, f}, g}; x"),
        ["a/b", "a/c/d", "a/c/f", "a/g"]
    );
    assert_eq!(joined("a::b(1)"), ["a/b"]);
}

#[test]
fn the_guide_of_the_architecture_leads_to_files_that_are_there() {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let start = text.find("## Where do I look for").unwrap();
    let rows: Vec<&str> = text[start..]
        .lines()
        .filter(|line| line.starts_with("| "))
        .collect();
    // The head of the table and its line are not concepts.
    assert!(rows.len() >= 41, "{} rows", rows.len());
    for row in &rows[1..] {
        let places: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        assert!(!places.is_empty(), "{row}");
        for place in places {
            let path = root().join(place);
            let path = if path.exists() {
                path
            } else {
                root().join("crates").join(place)
            };
            assert!(path.exists(), "{row}: {place} is not there");
        }
    }
}
