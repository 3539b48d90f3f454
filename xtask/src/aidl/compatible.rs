// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! What may change after a version is frozen: only what an old client and a new service, or the other
//! way round, can't notice (source.android.com, "Stable AIDL", Versioning interfaces).
//!
//! Methods have numbers, fields have places: they stay where they are, and new ones come behind them. A new
//! field needs a value for those who do not send it. Names of constants and enumerators keep their
//! values. Types stay.

use super::syntax::{parse, File};
use super::Dump;

/// Whether `new` may follow `old`.
pub fn check(old: &Dump, new: &Dump) -> Result<(), String> {
    for (name, old) in old {
        let new = new.get(name).ok_or_else(|| format!("{name} is gone"))?;
        file(&parse(old)?, &parse(new)?).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(())
}

fn file(old: &File, new: &File) -> Result<(), String> {
    if (&old.package, &old.kind, &old.name) != (&new.package, &new.kind, &new.name) {
        return Err("it is another type now".into());
    }
    if old.annotations != new.annotations {
        return Err("its annotations have changed".into());
    }
    let (old_constants, old_ordered) = parted(old);
    let (new_constants, new_ordered) = parted(new);
    if let Some(constant) = old_constants.iter().find(|item| !new_constants.contains(item)) {
        return Err(format!("`{constant}` is gone or has another value"));
    }
    for (nth, item) in old_ordered.iter().enumerate() {
        if new_ordered.get(nth) != Some(item) {
            return Err(format!("`{item}` has changed, or has another place"));
        }
    }
    let fixed = new.annotations.iter().any(|annotation| annotation == "@FixedSize");
    for added in &new_ordered[old_ordered.len()..] {
        if new.kind == "parcelable" && fixed {
            return Err(format!("`{added}` changes the size of a type of fixed size"));
        }
        if new.kind == "parcelable" && !has_a_value_of_its_own(added) {
            return Err(format!("`{added}` has no default for those who do not send it"));
        }
    }
    Ok(())
}

/// Those that are known by their name, and those that are known by their place.
fn parted(file: &File) -> (Vec<&String>, Vec<&String>) {
    let by_name = |item: &&String| file.kind == "enum" || item.starts_with("const ");
    file.items.iter().partition(by_name)
}

/// Numbers are 0, arrays and strings empty, when they are not sent; other types have to say.
fn has_a_value_of_its_own(field: &str) -> bool {
    const PLAIN: [&str; 8] =
        ["boolean", "byte", "char", "int", "long", "float", "double", "String"];
    let of = field.split_whitespace().find(|word| !word.starts_with('@')).unwrap_or_default();
    field.contains('=') || field.contains("@nullable") || of.ends_with("[]") || PLAIN.contains(&of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_follow(old: &str, new: &str) -> bool {
        let dump = |text: &str| Dump::from([("X.aidl".to_string(), format!("package a; {text}"))]);
        check(&dump(old), &dump(new)).is_ok()
    }

    #[test]
    fn interfaces_grow_at_their_end() {
        let old = "interface I { const int A = 1; void f(); int g(in B b); }";
        for (new, allowed) in [
            ("interface I { const int A = 1; void f(); int g(in B b); void h(); }", true),
            ("interface I { const int A = 1; const int Z = 9; void f(); int g(in B b); }", true),
            ("interface I { const int A = 2; void f(); int g(in B b); }", false),
            ("interface I { void f(); int g(in B b); }", false),
            ("interface I { const int A = 1; void h(); void f(); int g(in B b); }", false),
            ("interface I { const int A = 1; void f(); }", false),
            ("interface I { const int A = 1; void f(); long g(in B b); }", false),
            ("interface I { const int A = 1; void f(); int g(out B b); }", false),
            ("@VintfStability interface I { const int A = 1; void f(); int g(in B b); }", false),
            ("parcelable I { const int A = 1; void f(); int g(in B b); }", false),
        ] {
            assert_eq!(may_follow(old, new), allowed, "{new}");
        }
    }

    #[test]
    fn parcelables_grow_by_fields_that_may_be_absent() {
        let old = "parcelable P { int a; B b; }";
        for (new, allowed) in [
            ("parcelable P { int a; B b; int c = 1; }", true),
            ("parcelable P { int a; B b; int c; }", true),
            ("parcelable P { int a; B b; @nullable B c; }", true),
            ("parcelable P { int a; B b; B[] c; }", true),
            ("parcelable P { int a; B b; B c; }", false),
            ("parcelable P { B b; int a; }", false),
            ("parcelable P { int a; }", false),
            ("parcelable P { long a; B b; }", false),
        ] {
            assert_eq!(may_follow(old, new), allowed, "{new}");
        }
        assert!(!may_follow(
            "@FixedSize parcelable P { int a; }",
            "@FixedSize parcelable P { int a; int b; }"
        ));
    }

    #[test]
    fn enumerators_keep_their_values_in_whatever_order() {
        let old = "enum E { A = 1, B = 2 }";
        assert!(may_follow(old, "enum E { B = 2, C = 3, A = 1 }"));
        assert!(!may_follow(old, "enum E { A = 1, B = 3 }"));
        assert!(!may_follow(old, "enum E { A = 1 }"));
    }

    #[test]
    fn a_type_does_not_go_away() {
        let old = Dump::from([("X.aidl".into(), "package a; enum X { A }".into())]);
        assert!(check(&old, &Dump::new()).is_err());
        assert!(check(&Dump::new(), &old).is_ok());
    }
}
