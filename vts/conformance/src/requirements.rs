// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `vts/REQUIREMENTS.md`, held against what it is about.
//!
//! Every sentence of the AIDL comments is in it and nothing else is; what it quotes of the documents is
//! there; every requirement that asks something is bound to tests, those exist, and no test is bound to
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use buffersync_testbed::checkout::root;

/// What is wrong, in words.
type Result<T> = std::result::Result<T, String>;

/// One row of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Its name, for ever.
    pub id: String,
    /// As the interface or the document says it.
    pub sentence: String,
    /// The heading above it: an AIDL file, or a document.
    pub source: String,
    /// Who fails when it is not so; none for a sentence that asks nothing of a service.
    pub tests: Vec<String>,
}

/// Reads the list and checks it against its sources and the suite's tests.
pub fn checked(suite: &BTreeSet<String>) -> Result<Vec<Requirement>> {
    let list = parse(&read(&root().join("vts/REQUIREMENTS.md"))?)?;
    check_interface(&list)?;
    check_documents(&list)?;
    check_tests(&list, suite)?;
    Ok(list)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn parse(text: &str) -> Result<Vec<Requirement>> {
    let mut source = String::new();
    let mut list: Vec<Requirement> = Vec::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            source = heading.to_string();
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", id, sentence, tests, ""] = cells[..] else { continue };
        if id == "requirement" || id.starts_with("---") {
            continue;
        }
        if list.iter().any(|other| other.id == id) {
            return Err(format!("{id} is there twice"));
        }
        let tests = if tests.starts_with('—') { Vec::new() } else { names(tests) };
        let (id, sentence) = (id.to_string(), sentence.replace("&#124;", "|"));
        list.push(Requirement { id, sentence, source: source.clone(), tests });
    }
    if list.is_empty() {
        return Err("there are no requirements".into());
    }
    Ok(list)
}

fn names(cell: &str) -> Vec<String> {
    cell.split(',').map(|name| name.trim().to_string()).collect()
}

fn check_interface(list: &[Requirement]) -> Result<()> {
    let mut said: BTreeMap<(String, String), usize> = BTreeMap::new();
    let folder = root().join("aidl/vendor/buffersync");
    let files = fs::read_dir(&folder).map_err(|error| error.to_string())?.flatten();
    for path in files.map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for sentence in sentences(&read(&path)?) {
            *said.entry((name.clone(), sentence)).or_default() += 1;
        }
    }
    let mut listed: BTreeMap<(String, String), usize> = BTreeMap::new();
    for requirement in list.iter().filter(|r| r.source.ends_with(".aidl")) {
        let key = (requirement.source.clone(), requirement.sentence.clone());
        *listed.entry(key).or_default() += 1;
    }
    let missing = said.iter().filter(|(key, count)| listed.get(key) != Some(count));
    let stale = listed.iter().filter(|(key, count)| said.get(key) != Some(count));
    let missing: Vec<_> = missing.map(|((file, text), _)| format!("{file}: {text}")).collect();
    let stale: Vec<_> = stale.map(|((file, text), _)| format!("{file}: {text}")).collect();
    if missing.is_empty() && stale.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the list and the AIDL differ.\n  said and not listed:\n    {}\n  listed and not said:\n    {}",
        missing.join("\n    "),
        stale.join("\n    ")
    ))
}

/// The sentences of an AIDL file's comments, without pictures. An `@` tag begins one.
fn sentences(aidl: &str) -> Vec<String> {
    let mut all = Vec::new();
    for comment in aidl.split("/**").skip(1).filter_map(|rest| rest.split("*/").next()) {
        let mut text = comment.to_string();
        while let (Some(from), Some(to)) = (text.find("<pre>"), text.find("</pre>")) {
            text.replace_range(from..to + "</pre>".len(), "");
        }
        let lines = text.lines().map(|line| line.trim().trim_start_matches('*').trim());
        let words = lines.flat_map(str::split_whitespace);
        let mut sentence = String::new();
        let mut ended = false;
        for word in words {
            let tag = ["@param", "@return", "@throws"].contains(&word);
            let capital = word.starts_with(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit());
            if !sentence.is_empty() && (tag || ended && capital) {
                all.push(std::mem::take(&mut sentence));
            }
            if !sentence.is_empty() {
                sentence.push(' ');
            }
            sentence.push_str(word);
            ended = word.ends_with('.');
        }
        all.extend((!sentence.is_empty()).then_some(sentence));
    }
    all
}

fn check_documents(list: &[Requirement]) -> Result<()> {
    for requirement in list.iter().filter(|r| r.source.ends_with(".md")) {
        let text = read(&root().join(&requirement.source))?.replace("\\|", "|");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if !text.contains(&requirement.sentence) {
            let Requirement { id, source, .. } = requirement;
            return Err(format!("{id}: {source} does not say that any more"));
        }
    }
    Ok(())
}

fn check_tests(list: &[Requirement], suite: &BTreeSet<String>) -> Result<()> {
    let bound: BTreeSet<String> = list.iter().flat_map(|r| r.tests.iter().cloned()).collect();
    let gone: Vec<_> = bound.difference(suite).collect();
    let unbound: Vec<_> = suite.difference(&bound).collect();
    if !gone.is_empty() || !unbound.is_empty() {
        return Err(format!("tests that are gone: {gone:?}; tests of nothing: {unbound:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_taken_apart_into_sentences() {
        let aidl = "/**\n * One thing (e.g. that). Another,\n * of two lines: yes.\n * <pre>\n * a.  B.\n \
                    * </pre>\n *\n * @param x what it is. More.\n * @throws E. */\nvoid f();\n/** Last */";
        let expected = [
            "One thing (e.g. that).",
            "Another, of two lines: yes.",
            "@param x what it is.",
            "More.",
            "@throws E.",
            "Last",
        ];
        assert_eq!(sentences(aidl), expected);
    }

    #[test]
    fn rows_are_read_and_names_are_unique() {
        let text = "## X.aidl\n| requirement | sentence | tests |\n|---|---|---|\n\
                    | X-1 | a &#124; b | m::t, m::u |\n| X-2 | c | — says what it is |\n";
        let list = parse(text).unwrap();
        assert_eq!(list[0].sentence, "a | b");
        assert_eq!((list[0].tests.len(), list[1].tests.len()), (2, 0));
        assert!(parse(&text.replace("X-2", "X-1")).is_err() && parse("nothing").is_err());
    }

    #[test]
    fn a_test_that_is_gone_and_a_test_of_nothing_are_noticed() {
        let list = parse("| X-1 | a | m::t |").unwrap();
        let suite = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        assert!(check_tests(&list, &suite(&["m::t"])).is_ok());
        assert!(check_tests(&list, &suite(&[])).is_err());
        assert!(check_tests(&list, &suite(&["m::t", "m::u"])).is_err());
    }

    #[test]
    fn a_sentence_that_is_not_listed_and_one_that_is_not_said_are_noticed() {
        let text = read(&root().join("vts/REQUIREMENTS.md")).unwrap();
        let mut list = parse(&text).unwrap();
        check_interface(&list).unwrap();
        check_documents(&list).unwrap();
        let removed = list.remove(0);
        assert!(check_interface(&list).is_err());
        list.push(Requirement { sentence: "The moon is a buffer.".into(), ..removed.clone() });
        assert!(check_interface(&list).is_err());
        let source = "docs/design.md".to_string();
        let invented = Requirement { sentence: "The moon is a buffer.".into(), source, ..removed };
        assert!(check_documents(&[invented]).is_err());
    }
}
