// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Generates the Rust bindings of `vendor/buffersync/*.aidl`, and has them tell the runtime of each call
//! (src/runtime/oneway.rs).

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

const FOLDER: &str = "vendor/buffersync";
/// The version and the hash that AOSP's build gives an interface that is not frozen.
const VERSION: i32 = 1;
const HASH: &str = "notfrozen";
/// The interfaces: IBufferSync, ISyncGroup.
const INTERFACES: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={FOLDER}");
    let entries = fs::read_dir(FOLDER)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files = entries.collect::<Result<Vec<PathBuf>, _>>()?;
    files.sort();
    let mut builder = rsbinder_aidl::Builder::new().include_dir(".").output("buffersync.rs");
    for file in files {
        builder = builder.source(&file).version(VERSION).hash(HASH);
    }
    builder.generate()?;
    let file = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?).join("buffersync.rs");
    fs::write(&file, told_of_calls(&fs::read_to_string(&file)?)?)?;
    Ok(())
}

/// Puts a function around each that carries out calls.
fn told_of_calls(text: &str) -> Result<String, String> {
    let begin = "fn on_transact(";
    let parts: Vec<&str> = text.split(begin).collect();
    let [before, calls @ ..] = &parts[..] else { return Err("nothing was generated".into()) };
    let mut out = before.to_string();
    for call in calls {
        let (arguments, body) = call.split_once('{').ok_or("a function without a body")?;
        out.push_str(&format!(
            "{begin}{arguments}{{ let result = carry_out(_service, _code, _reader, _reply); \
             crate::runtime::after_call(_reader); result }} fn carry_out({arguments}{{{body}"
        ));
    }
    // One for each interface; the language's own rules check the rest.
    if calls.len() == INTERFACES {
        Ok(out)
    } else {
        Err(format!("{} interfaces", calls.len()))
    }
}
