// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A parser for the part of Blueprint's grammar that this project's `Android.bp` files use.
//!
//! Modules, maps, lists, strings, booleans and `//` comments. No variables, no `+`, no `select`: files that
//! need none are read by people too.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Properties by name.
pub type Map = BTreeMap<String, Value>;

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `"text"`.
    Text(String),
    /// `true`, `false`.
    Bool(bool),
    /// `[...]`.
    List(Vec<Value>),
    /// `{...}`.
    Map(Map),
}

/// One module.
#[derive(Clone, Debug)]
pub struct Module {
    /// `rust_library`, say.
    pub kind: String,
    /// The folder of its `Android.bp`, below the root.
    pub folder: PathBuf,
    /// The rest.
    pub properties: Map,
}

impl Module {
    /// Its name; `package` has none.
    pub fn name(&self) -> &str {
        self.text("name").unwrap_or_default()
    }

    /// A property that is one text.
    pub fn text(&self, property: &str) -> Option<&str> {
        match self.properties.get(property) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A property that is a list of texts; empty if it is not there.
    pub fn list(&self, property: &str) -> Vec<&str> {
        self.properties.get(property).map(Value::texts).unwrap_or_default()
    }

    /// The module with what its defaults say added, as Soong does it: lists grow, the module's own
    /// texts and booleans stay.
    pub fn with(mut self, defaults: &Map) -> Self {
        merge(&mut self.properties, defaults);
        self
    }
}

fn merge(own: &mut Map, defaults: &Map) {
    for (name, value) in
        defaults.iter().filter(|(name, _)| !["name", "defaults"].contains(&name.as_str()))
    {
        match (own.get_mut(name), value) {
            (Some(Value::List(own)), Value::List(more)) => {
                own.splice(0..0, more.iter().cloned());
            }
            (Some(Value::Map(own)), Value::Map(more)) => merge(own, more),
            (Some(_), _) => {}
            (None, _) => {
                own.insert(name.clone(), value.clone());
            }
        }
    }
}

impl Value {
    /// All texts in it, in maps and lists too.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::Text(text) => vec![text],
            Self::Bool(_) => Vec::new(),
            Self::List(values) => values.iter().flat_map(Self::texts).collect(),
            Self::Map(map) => map.values().flat_map(Self::texts).collect(),
        }
    }
}

/// The modules of a file. `folder` is where it is.
pub fn parse(text: &str, folder: &std::path::Path) -> Result<Vec<Module>, String> {
    let mut parser = Parser { rest: text };
    let mut modules = Vec::new();
    while let Some(kind) = parser.word()? {
        let properties = match parser.value()? {
            Value::Map(properties) => properties,
            _ => return Err(format!("{kind} is no module")),
        };
        modules.push(Module { kind, folder: folder.to_path_buf(), properties });
    }
    Ok(modules)
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with("//") {
                return;
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
    }

    fn takes(&mut self, c: char) -> bool {
        self.skip();
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, c: char) -> Result<(), String> {
        if self.takes(c) {
            return Ok(());
        }
        let here: String = self.rest.chars().take(20).collect();
        Err(format!("{c:?} is missing before {here:?}"))
    }

    /// A name, `None` at the end.
    fn word(&mut self) -> Result<Option<String>, String> {
        self.skip();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        match (word, rest) {
            ("", "") => Ok(None),
            ("", rest) => Err(format!("{:?} begins no name", rest.chars().next())),
            _ => Ok(Some(word.to_string())),
        }
    }

    fn value(&mut self) -> Result<Value, String> {
        if self.takes('{') {
            let mut map = Map::new();
            while !self.takes('}') {
                let name = self.word()?.ok_or("a map does not end")?;
                self.expect(':')?;
                let value = self.value()?;
                if map.insert(name.clone(), value).is_some() {
                    return Err(format!("{name} is set twice"));
                }
                self.expect(',')?;
            }
            return Ok(Value::Map(map));
        }
        if self.takes('[') {
            let mut list = Vec::new();
            while !self.takes(']') {
                list.push(self.value()?);
                if !self.takes(',') {
                    self.expect(']')?;
                    break;
                }
            }
            return Ok(Value::List(list));
        }
        if self.takes('"') {
            let (text, rest) = self.rest.split_once('"').ok_or("a text does not end")?;
            self.rest = rest;
            return Ok(Value::Text(text.to_string()));
        }
        match self.word()?.as_deref() {
            Some("true") => Ok(Value::Bool(true)),
            Some("false") => Ok(Value::Bool(false)),
            other => Err(format!("{other:?} is no value that is known here")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn modules_are_read_with_what_they_have() {
        let text = "// c\nrust_library {\n    name: \"x\", // d\n    host: true,\n    srcs: [\"a\", \":b\"],\n    \
                    m: {\n        n: {\n            o: [\"p\"],\n        },\n    },\n}\n\npackage {\n}\n";
        let modules = parse(text, Path::new("f")).unwrap();
        assert_eq!(modules.len(), 2);
        let x = &modules[0];
        assert_eq!(
            (x.kind.as_str(), x.name(), x.folder.as_path()),
            ("rust_library", "x", Path::new("f"))
        );
        assert_eq!(x.properties["host"], Value::Bool(true));
        assert_eq!(x.list("srcs"), ["a", ":b"]);
        assert_eq!(x.properties["m"].texts(), ["p"]);
    }

    #[test]
    fn defaults_come_first_in_lists_and_last_elsewhere() {
        let text = "a { name: \"a\", e: \"own\", l: [\"2\"], } d { name: \"d\", e: \"default\", f: true, l: [\"1\"], }";
        let mut modules = parse(text, Path::new("")).unwrap();
        let defaults = modules.pop().unwrap();
        let a = modules.pop().unwrap().with(&defaults.properties);
        assert_eq!((a.name(), a.text("e")), ("a", Some("own")));
        assert_eq!(a.properties["f"], Value::Bool(true));
        assert_eq!(a.list("l"), ["1", "2"]);
    }

    #[test]
    fn what_is_no_blueprint_is_refused() {
        for text in [
            "a",
            "a {",
            "a { b }",
            "a { b: }",
            "a { b: \"c }",
            "a { b: c, }",
            "a { b: [\"c\" }",
            "{}",
            "a { b: true, b: true, }",
            "a { b: true }",
        ] {
            assert!(parse(text, Path::new("")).is_err(), "{text:?}");
        }
    }
}
