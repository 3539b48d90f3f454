// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! AIDL without its comments: a package, imports, and one declaration with its items.
//!
//! As much grammar as a snapshot needs: an item is what stands between two semicolons (commas, in an enum),
//! word by word. What the words mean the compiler says; here they are compared and printed.

use std::fmt;

/// One AIDL file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// `package a.b`.
    pub package: String,
    /// What stands before the name: annotations, then `interface`, `parcelable`, `enum`, `union`.
    pub annotations: Vec<String>,
    /// One of these four.
    pub kind: String,
    /// The type's.
    pub name: String,
    /// Methods, fields, constants or enumerators; imported types with their packages.
    pub items: Vec<String>,
}

/// Takes a file apart.
pub fn parse(text: &str) -> Result<File, String> {
    let text = without_comments(text)?;
    let (head, rest) = text.split_once('{').ok_or("there is no {")?;
    let (body, tail) = rest.rsplit_once('}').ok_or("there is no }")?;
    if !tail.trim().is_empty() {
        return Err(format!("{:?} stands behind the declaration", tail.trim()));
    }
    let mut package = String::new();
    let mut imports = Vec::new();
    let mut declaration = "";
    for statement in head.split(';').map(str::trim) {
        match statement.split_once(char::is_whitespace) {
            Some(("package", name)) => package = name.trim().to_string(),
            Some(("import", name)) => imports.push(name.trim()),
            _ => declaration = statement,
        }
    }
    let mut words: Vec<String> = declaration.split_whitespace().map(str::to_string).collect();
    let name = words.pop().ok_or("there is no name")?;
    let kind = words.pop().unwrap_or_default();
    if !["interface", "parcelable", "enum", "union"].contains(&kind.as_str()) {
        return Err(format!("{kind:?} is no kind of declaration"));
    }
    let separator = if kind == "enum" { ',' } else { ';' };
    let items = split(body, separator).into_iter().map(|item| spaced(&item));
    let items = items.filter(|item| !item.is_empty()).map(|item| qualified(&item, &imports));
    let items = items.collect();
    Ok(File { package, annotations: words, kind, name, items })
}

/// At the separators that are in no bracket and no string.
fn split(body: &str, separator: char) -> Vec<String> {
    let (mut items, mut item) = (Vec::new(), String::new());
    let (mut depth, mut quoted) = (0_i32, false);
    for c in body.chars() {
        match c {
            '"' => quoted = !quoted,
            '(' | '[' | '{' | '<' if !quoted => depth += 1,
            ')' | ']' | '}' | '>' if !quoted => depth -= 1,
            _ => {}
        }
        if c == separator && depth == 0 && !quoted {
            items.push(std::mem::take(&mut item));
        } else {
            item.push(c);
        }
    }
    items.push(item);
    items
}

/// Types that were imported, named in full: a snapshot has no imports.
fn qualified(item: &str, imports: &[&str]) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let mut text = String::new();
    let mut rest = item;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end.max(rest.chars().next().map_or(1, char::len_utf8)));
        let first = word.split('.').next().unwrap_or(word);
        match imports.iter().find(|import| import.rsplit('.').next() == Some(first)) {
            // Of a constant, say: the rest of the name stays.
            Some(import) => text.push_str(&format!("{import}{}", &word[first.len()..])),
            None => text.push_str(word),
        }
        rest = after;
    }
    text
}

/// One space between words, none around brackets and commas but one after a comma.
fn spaced(item: &str) -> String {
    let words = item.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut text = String::new();
    for c in words.chars() {
        let before = text.chars().last();
        match c {
            ' ' if matches!(before, Some('(' | '[' | '<')) => {}
            '(' | ')' | '[' | ']' | '<' | '>' | ',' => {
                text.truncate(text.trim_end().len());
                text.push(c);
            }
            ' ' => text.push(c),
            c => {
                if before == Some(',') {
                    text.push(' ');
                }
                text.push(c);
            }
        }
    }
    text.trim().to_string()
}

fn without_comments(text: &str) -> Result<String, String> {
    let mut clean = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("/*").into_iter().chain(rest.find("//")).min() {
        clean.push_str(&rest[..at]);
        clean.push(' ');
        let (end, length) = if rest[at..].starts_with("/*") { ("*/", 2) } else { ("\n", 0) };
        let after = rest[at..].find(end).ok_or("a comment does not end")?;
        rest = &rest[at + after + length..];
    }
    clean.push_str(rest);
    Ok(clean)
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "package {};", self.package)?;
        let annotations =
            self.annotations.iter().map(|word| format!("{word} ")).collect::<String>();
        writeln!(f, "{annotations}{} {} {{", self.kind, self.name)?;
        let end = if self.kind == "enum" { "," } else { ";" };
        for item in &self.items {
            writeln!(f, "  {item}{end}")?;
        }
        writeln!(f, "}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_apart_and_printed_without_comments() {
        let text = "// x\npackage a.b;\nimport a.C;\nimport a.b.D;\n/** Words; more. */\n@VintfStability @FixedSize\n\
                    parcelable P {\n  /** {a} */ const int X = 0x1;\n  @nullable  String[ ] s;\n \
                    C[] c; D d = D.ONE; CD e;\n}\n";
        let file = parse(text).unwrap();
        assert_eq!((file.package.as_str(), file.kind.as_str()), ("a.b", "parcelable"));
        let items =
            ["const int X = 0x1", "@nullable String[] s", "a.C[] c", "a.b.D d = a.b.D.ONE", "CD e"];
        assert_eq!(file.items, items);
        let printed =
            "package a.b;\n@VintfStability @FixedSize parcelable P {\n  const int X = 0x1;\n  \
                       @nullable String[] s;\n  a.C[] c;\n  a.b.D d = a.b.D.ONE;\n  CD e;\n}\n";
        assert_eq!(file.to_string(), printed);
        assert_eq!(parse(printed).unwrap(), file);
    }

    #[test]
    fn methods_and_enumerators_are_items() {
        let interface = parse("package a; interface I { void f( in B b,\n int c ); }").unwrap();
        assert_eq!(interface.items, ["void f(in B b, int c)"]);
        let names = parse("package a; @Backing(type=\"int\") enum E { A = 1, B = A, }").unwrap();
        assert_eq!(names.items, ["A = 1", "B = A"]);
        assert_eq!(names.annotations, ["@Backing(type=\"int\")"]);
    }

    #[test]
    fn what_is_no_aidl_is_refused() {
        for text in
            ["", "package a;", "package a; class X {}", "interface I {} x", "/* interface I {}"]
        {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
