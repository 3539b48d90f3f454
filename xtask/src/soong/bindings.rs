// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The interface as AOSP's AIDL compiler spells it in Rust: types and signatures, without what they do.
//!
//! Where `aidl_interface` has a rust backend, sources see `PACKAGE::aidl::a::b::Type::Type`, traits with
//! `binder::Result`, classes whose `new_binder` takes features. This prints as much of that, from the same
//! AIDL files, as it takes to compile against it (system/tools/aidl: generate_rust.cpp, aidl_to_rust.cpp).

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::aidl::syntax::File;

/// A crate's `lib.rs` for these files, which are of one package. `others` are types of other crates: AIDL
/// name to Rust path.
pub fn print(files: &[File], others: &BTreeMap<&str, &str>) -> Result<String, String> {
    let package = files.first().map(|file| file.package.clone()).unwrap_or_default();
    let mut types = BTreeMap::new();
    for file in files {
        let aidl = format!("{}.{}", file.package, file.name);
        let path = format!("crate::aidl::{}::{}", aidl.replace('.', "::"), file.name);
        types.insert(aidl, Type { kind: file.kind.clone(), path });
    }
    for (aidl, path) in others {
        let other = Type { kind: "parcelable".into(), path: (*path).to_string() };
        types.insert((*aidl).to_string(), other);
    }
    let printer = Printer { types };
    let mut modules = String::new();
    for file in files {
        let module = printer.module(file).map_err(|why| format!("{}: {why}", file.name))?;
        let _ = write!(modules, "pub mod {} {{\n{module}}}\n", file.name);
    }
    for part in package.split('.').rev() {
        modules = format!("pub mod {part} {{\n{modules}}}\n");
    }
    Ok(format!("#![allow(non_snake_case, non_upper_case_globals, dead_code)]\npub mod aidl {{\n{modules}}}\n"))
}

struct Type {
    kind: String,
    path: String,
}

struct Printer {
    types: BTreeMap<String, Type>,
}

/// Where a type stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Field,
    Argument,
    Return,
}

impl Printer {
    fn module(&self, file: &File) -> Result<String, String> {
        let (constants, items): (Vec<&String>, Vec<&String>) =
            file.items.iter().partition(|item| item.starts_with("const "));
        let mut text = String::new();
        for constant in constants {
            let (left, value) = constant.split_once(" = ").ok_or("a constant has no value")?;
            let words: Vec<&str> = left.split(' ').collect();
            let [_, kind, name] = words[..] else { return Err(format!("{constant}?")) };
            let kind = self.kind(kind, Place::Return)?;
            let _ = writeln!(text, "pub const r#{name}: {kind} = {};", value.trim_end_matches('L'));
        }
        let body = match file.kind.as_str() {
            "enum" => enumeration(file),
            "parcelable" => self.parcelable(&file.name, &items)?,
            "interface" => self.interface(file, &items)?,
            other => return Err(format!("{other} is not known here")),
        };
        text.push_str(&body);
        Ok(text)
    }

    fn parcelable(&self, name: &str, items: &[&String]) -> Result<String, String> {
        let mut text = format!("#[derive(Debug, Default)]\npub struct r#{name} {{\n");
        for item in items {
            let declared = item.split_once(" = ").map_or(item.as_str(), |(left, _)| left);
            let (kind, field) = declared.rsplit_once(' ').ok_or("a field has no name")?;
            let _ = writeln!(text, "pub r#{field}: {},", self.kind(kind, Place::Field)?);
        }
        text.push_str("}\n");
        Ok(text)
    }

    fn interface(&self, file: &File, items: &[&String]) -> Result<String, String> {
        let trait_ = &file.name;
        let class = format!("Bn{}", trait_.trim_start_matches('I'));
        let mut text = format!("pub trait {trait_}: binder::Interface + Send {{\n");
        text.push_str(
            "fn get_descriptor() -> &'static str where Self: Sized { unimplemented!() }\n",
        );
        // Of interfaces that have versions; ours all have.
        text.push_str(
            "fn r#getInterfaceVersion(&self) -> binder::Result<i32> { unimplemented!() }\n",
        );
        text.push_str(
            "fn r#getInterfaceHash(&self) -> binder::Result<String> { unimplemented!() }\n",
        );
        for item in items {
            let (head, arguments) =
                item.trim_end_matches(')').split_once('(').ok_or("no method")?;
            let (kind, method) = head.rsplit_once(' ').ok_or("a method has no name")?;
            let _ = write!(text, "fn r#{method}(&self");
            for argument in arguments.split(", ").filter(|argument| !argument.is_empty()) {
                let (kind, name) = argument.rsplit_once(' ').ok_or("an argument has no name")?;
                let kind = kind.strip_prefix("in ").unwrap_or(kind);
                let _ = write!(text, ", _arg_{name}: {}", self.kind(kind, Place::Argument)?);
            }
            let _ = writeln!(text, ") -> binder::Result<{}>;", self.kind(kind, Place::Return)?);
        }
        let _ = write!(
            text,
            "}}
pub const VERSION: i32 = 0;
pub const HASH: &str = \"\";
impl binder::FromIBinder for dyn {trait_} {{
    fn try_from(_: binder::SpIBinder) -> std::result::Result<binder::Strong<Self>, binder::StatusCode> {{
        unimplemented!()
    }}
}}
impl std::fmt::Debug for dyn {trait_} {{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{ f.pad({trait_:?}) }}
}}
pub struct {class}(());
impl {class} {{
    pub fn new_binder<T: {trait_} + binder::Interface + Send + Sync + 'static>(
        _inner: T, _features: binder::BinderFeatures,
    ) -> binder::Strong<dyn {trait_}> {{
        unimplemented!()
    }}
}}
"
        );
        Ok(text)
    }

    /// An AIDL type, with its annotations.
    fn kind(&self, aidl: &str, place: Place) -> Result<String, String> {
        let (annotations, aidl) = aidl.rsplit_once(' ').unwrap_or(("", aidl));
        let nullable = annotations.split(' ').any(|word| word == "@nullable");
        let (element, array) = match aidl.strip_suffix("[]") {
            Some(element) => (element, true),
            None => (aidl, false),
        };
        let declared = self.types.get(element);
        let simple = match (element, declared.map(|declared| declared.kind.as_str())) {
            ("void", _) => "()".to_string(),
            ("boolean", _) => "bool".into(),
            ("byte", _) => if array { "u8" } else { "i8" }.into(),
            ("int", _) => "i32".into(),
            ("long", _) => "i64".into(),
            ("float", _) => "f32".into(),
            ("double", _) => "f64".into(),
            ("String", _) => "String".into(),
            ("ParcelFileDescriptor", _) => "binder::ParcelFileDescriptor".into(),
            (_, Some("interface")) => {
                format!("binder::Strong<dyn {}>", declared.map_or("", |d| d.path.as_str()))
            }
            (_, Some(_)) => declared.map_or(String::new(), |declared| declared.path.clone()),
            _ => return Err(format!("{element} is no type that is known here")),
        };
        // What has no default of its own is optional in a parcelable.
        let without_default = element == "ParcelFileDescriptor"
            || declared.is_some_and(|declared| declared.kind == "interface");
        let by_value = ["boolean", "byte", "int", "long", "float", "double"].contains(&element)
            || declared.is_some_and(|declared| declared.kind == "enum");
        let owned = if array { format!("Vec<{simple}>") } else { simple.clone() };
        Ok(match place {
            Place::Field if without_default && !array => format!("Option<{simple}>"),
            Place::Field | Place::Return if nullable => format!("Option<{owned}>"),
            Place::Field | Place::Return => owned,
            Place::Argument if array && nullable => format!("Option<&[{simple}]>"),
            Place::Argument if array => format!("&[{simple}]"),
            Place::Argument if by_value => simple,
            Place::Argument if nullable => format!("Option<&{simple}>"),
            Place::Argument if element == "String" => "&str".into(),
            Place::Argument => format!("&{simple}"),
        })
    }
}

/// As `declare_binder_enum!` has it: a number, of which some have names.
fn enumeration(file: &File) -> String {
    let backing = file.annotations.iter().find_map(|word| word.strip_prefix("@Backing(type=\""));
    let backing = match backing.and_then(|rest| rest.split('"').next()) {
        Some("long") => "i64",
        Some("int") => "i32",
        _ => "i8",
    };
    let name = &file.name;
    let derived = "Debug, Default, Copy, Clone, PartialOrd, Ord, PartialEq, Eq, Hash";
    let mut text =
        format!("#[derive({derived})]\npub struct r#{name}(pub {backing});\nimpl {name} {{\n");
    for item in &file.items {
        let (enumerator, value) = item.split_once(" = ").unwrap_or((item.as_str(), "0"));
        let _ = writeln!(text, "pub const r#{enumerator}: Self = Self({value});");
    }
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aidl::syntax::parse;

    #[test]
    fn types_are_spelt_as_aosp_does_where_they_stand() {
        let mode = parse("package a.b; @Backing(type=\"int\") enum Mode { ON = 1 }").unwrap();
        let text = "package a.b; import c.H; import a.b.Mode; interface IFoo { const long X = 2L; \
                    @nullable ParcelFileDescriptor f(in H h, in Mode m, in @utf8InCpp String s, in long[] l); }";
        let foo = parse(text).unwrap();
        let bar = parse(
            "package a.b; parcelable Bar { IFoo foo; ParcelFileDescriptor[] fds; int n = 3; }",
        );
        let bar = parse(&bar.unwrap().to_string().replace("IFoo foo", "a.b.IFoo foo")).unwrap();
        let others = BTreeMap::from([("c.H", "h::H")]);
        let printed = print(&[mode, foo, bar], &others).unwrap();
        for expected in [
            "pub mod aidl {\npub mod a {\npub mod b {\npub mod Mode {",
            "pub struct r#Mode(pub i32);",
            "pub const r#X: i64 = 2;",
            "fn r#f(&self, _arg_h: &h::H, _arg_m: crate::aidl::a::b::Mode::Mode, _arg_s: &str, \
             _arg_l: &[i64]) -> binder::Result<Option<binder::ParcelFileDescriptor>>;",
            "pub r#foo: Option<binder::Strong<dyn crate::aidl::a::b::IFoo::IFoo>>,",
            "pub r#fds: Vec<binder::ParcelFileDescriptor>,",
            "pub r#n: i32,",
            "pub struct BnFoo(());",
        ] {
            assert!(printed.contains(expected), "{expected}\nis not in\n{printed}");
        }
    }

    #[test]
    fn an_unknown_type_is_said() {
        let file = parse("package a; parcelable P { Q q; }").unwrap();
        assert!(print(&[file], &BTreeMap::new()).unwrap_err().contains('Q'));
    }
}
