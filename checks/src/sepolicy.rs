// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The vendor's SELinux policy, compiled with a small platform's (`testbed/sepolicy`).
//!
//! `m4` expands the macros, `checkpolicy` compiles what comes out, neverallow rules included, to a policy that
//! the testbed's kernel loads. Also the policies with one statement of the vendor's missing: for the
//! test that each of them is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use buffersync_testbed::checkout::{root, target};
use buffersync_testbed::command::{call, files, made};
use buffersync_testbed::{provision, Failure};

/// Statements that allow something begin like this.
const ALLOWING: [&str; 10] = [
    "allow ",
    "binder_call(",
    "binder_use(",
    "dump_hal(",
    "get_prop(",
    "hal_attribute_service(",
    "hal_client_domain(",
    "hal_server_domain(",
    "init_daemon_domain(",
    "set_prop(",
];

/// A test loads a policy with this line: an intruder that finds the service still may not call it. Without
/// `target_exclude_build_test` a neverallow rule refuses the line.
const LETS_FIND: &str = "allow intruder hal_buffersync_service:service_manager find;";

/// A statement of the vendor's policy that allows something.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Statement {
    file: String,
    text: String,
}

/// Compiles the policy to `FOLDER/policy`, and to `FOLDER/without-N` without the Nth statement of the
/// vendor's, which `FOLDER/statements` names line by line.
pub fn compile(folder: &Path) -> Result<(), Failure> {
    provision::need(&[("checkpolicy", "checkpolicy"), ("m4", "m4")])?;
    let _ = fs::remove_dir_all(folder);
    made(fs::create_dir_all(folder), "sepolicy")?;
    compile_without(None, "", &folder.join("policy"))?;
    compile_without(None, LETS_FIND, &folder.join("policy-that-lets-find"))?;
    let contexts = root().join("sepolicy/service_contexts");
    made(fs::copy(contexts, folder.join("service_contexts")), "service_contexts")?;
    let mut list = String::new();
    for (nth, statement) in statements()?.iter().enumerate() {
        compile_without(Some(statement), "", &folder.join(format!("without-{nth}")))?;
        list.push_str(&format!("{}: {}\n", statement.file, statement.text));
    }
    made(fs::write(folder.join("statements"), list), "statements")
}

fn compile_without(missing: Option<&Statement>, more: &str, to: &Path) -> Result<(), Failure> {
    let work = target().join("sepolicy");
    made(fs::create_dir_all(&work), "target/sepolicy")?;
    let conf = work.join("policy.conf");
    let platform = |name: &str| root().join("testbed/sepolicy").join(name);
    let mut m4 = Command::new("m4");
    m4.arg(format!("-Dtarget_exclude_build_test={}", more == LETS_FIND));
    m4.args(["macros.m4", "classes", "platform.te"].map(platform));
    for path in vendor_files()? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut text = made(fs::read_to_string(&path), &name)?;
        if let Some(statement) = missing.filter(|statement| statement.file == name) {
            text = text.replacen(&statement.text, "", 1);
        }
        let copy = work.join(name);
        made(fs::write(&copy, text), "target/sepolicy")?;
        m4.arg(copy);
    }
    let output =
        made(m4.args(["clients.te", "testbed.te", "contexts"].map(platform)).output(), "m4")?;
    if !output.status.success() {
        return Err(Failure(format!("m4: {}", String::from_utf8_lossy(&output.stderr))));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // Rules end where roles begin.
    made(
        fs::write(&conf, text.replacen("role r;", &format!("{more}\nrole r;"), 1)),
        "policy.conf",
    )?;
    let mut checkpolicy = Command::new("checkpolicy");
    call(checkpolicy.args(["-M", "-U", "allow", "-o"]).arg(to).arg(conf))
}

/// Attributes come first: rules name them.
fn vendor_files() -> Result<Vec<PathBuf>, Failure> {
    let folder = root().join("sepolicy");
    let mut all = vec![folder.join("attributes")];
    all.extend(files(&folder, "te")?);
    Ok(all)
}

/// The statements of the vendor's files that allow something: `allow`, and macros that expand to it.
fn statements() -> Result<Vec<Statement>, Failure> {
    let mut all = Vec::new();
    for path in vendor_files()? {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = made(fs::read_to_string(&path), &file)?;
        let allowing =
            text.lines().filter(|line| ALLOWING.iter().any(|start| line.starts_with(start)));
        all.extend(allowing.map(|text| Statement { file: file.clone(), text: text.to_string() }));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendors_statements_are_found() {
        let all = statements().unwrap();
        // As the README and docs/integration.md say.
        assert_eq!(all.len(), 21, "{all:?}");
        assert!(all.iter().any(|statement| statement.text.contains("unix_stream_socket")));
    }

    /// A policy that allows too much is no policy: the platform's neverallow rules say so.
    #[test]
    fn a_policy_that_allows_what_must_never_be_does_not_compile() {
        compile(&target().join("sepolicy-test")).unwrap();
        let conf = fs::read_to_string(target().join("sepolicy/policy.conf")).unwrap();
        let (before, after) = conf.split_once("role r;").unwrap();
        for rule in [
            "allow intruder hal_buffersync_default:binder call;",
            "allow hal_camera_default hal_buffersync_service:service_manager add;",
            "allow hal_buffersync_default hal_camera_default:binder call;",
            "allow hal_buffersync_default dmabuf_system_heap_device:chr_file open;",
            "allow surfaceflinger vendor_buffersync_prop:property_service set;",
            "allow intruder hal_buffersync_service:service_manager find;",
            "typeattribute intruder hal_buffersync_server;",
            "allow hal_buffersync_default app_data_file:file open;",
            "allow app self:binder set_context_mgr;",
        ] {
            let wrong = target().join("sepolicy/wrong.conf");
            fs::write(&wrong, format!("{before}{rule}\nrole r;{after}")).unwrap();
            let out = target().join("sepolicy/wrong");
            let mut checkpolicy = Command::new("checkpolicy");
            checkpolicy.args(["-M", "-U", "allow", "-o"]).arg(out).arg(wrong);
            let output = checkpolicy.output().unwrap();
            assert!(!output.status.success(), "{rule}");
            assert!(String::from_utf8_lossy(&output.stderr).contains("neverallow"), "{rule}");
        }
    }
}
