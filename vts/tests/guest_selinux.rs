// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The vendor's SELinux policy, enforced by the kernel: what it allows works, without one denial; what it
//! does not is denied, by a rule that the audit log names; and each of its statements is needed.
//!
//! Service manager, service and clients run in the domains that they have on a device. What only the
//! service manager decides (`service_manager { add find }`) is not enforced here: rsb_hub asks uids,
//! Android's servicemanager asks SELinux.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use buffersync_testbed_guest::selinux::{denials, enforce, label, load, unlimited_log};
use buffersync_testbed_guest::stack::Stack;
use buffersync_testbed_guest::user::User;

/// Programs as they are started in their domains; on a file system that keeps labels.
const PLACE: &str = "/tmp/selinux";
const SERVICE: &str = "vendor.buffersync-service";

fn stage(name: &str) -> PathBuf {
    std::env::var_os("BUFFERSYNC_STAGE").map_or_else(|| "/stage".into(), PathBuf::from).join(name)
}

/// A program in a domain, under a user.
fn command(user: User, domain: &str, program: impl AsRef<Path>) -> Command {
    let mut command = user.command(stage("bin/buffersync-in-domain"));
    command.arg(domain).arg(program.as_ref()).stdin(Stdio::null());
    command
}

/// Whether it ended in order.
fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().expect("spawn").success()
}

/// A client in a domain. `own`: allocates a buffer, locks it at once and by event. `call`: one call.
fn client(user: User, domain: &str, verb: &str) -> bool {
    let mut client = command(user, domain, stage("bin/VtsHalBufferSyncTargetTest"));
    succeeds(client.args(["client", verb]))
}

/// Reads a file.
fn reads(domain: &str, path: &str) -> bool {
    succeeds(command(User::ROOT, domain, "/bin/busybox").args(["cat", path]))
}

/// Programs that the stack starts, each of which goes into its domain; the service as init starts it, by
/// the label of its file.
fn prepare() {
    fs::create_dir_all(PLACE).expect("place");
    let place = Path::new(PLACE);
    let script = |name: &str, domain: &str, program: &Path| {
        let text = format!(
            "#!/bin/sh\nexec {} {domain} {} \"$@\"\n",
            stage("bin/buffersync-in-domain").display(),
            program.display()
        );
        executable(&place.join(name), text.as_bytes());
    };
    let service = place.join("service");
    let bytes = fs::read(stage("bin").join(SERVICE)).expect("the service");
    executable(&service, &bytes);
    script("rsb_hub", "servicemanager", &stage("bin/rsb_hub"));
    script(SERVICE, "init", &service);
    let _ = std::os::unix::fs::symlink(stage("bin/rsb_service"), place.join("rsb_service"));
    fs::write(place.join("property"), "ro.vendor.buffersync.max_hold_ms=1000\n").expect("property");
}

fn executable(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("write");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
}

/// Labels need a policy that knows them.
fn label_files() {
    let place = Path::new(PLACE);
    label(&place.join("service"), "hal_buffersync_default_exec").expect("label");
    label(&place.join("property"), "vendor_buffersync_prop").expect("label");
    label(Path::new("/dev/binder"), "binder_device").expect("label");
    label(Path::new("/dev/dma_heap/system"), "dmabuf_system_heap_device").expect("label");
}

/// What has to work on a device, or the first of it that does not.
fn works() -> Result<Stack, String> {
    let out = std::env::var_os("BUFFERSYNC_OUT").map_or_else(|| "/out".into(), PathBuf::from);
    let stack = Stack::start(Path::new(PLACE), &out.join("log-selinux"), &[]);
    let stack = stack.map_err(|error| error.to_string())?;
    let domain = fs::read_to_string(format!("/proc/{}/attr/current", stack.service_pid()));
    let domain = domain.map_err(|error| error.to_string())?;
    if domain.trim_end_matches('\0') != "u:r:hal_buffersync_default:s0" {
        return Err(format!("the service is in {domain}"));
    }
    let clients = [(User::CAMERA, "camera", "own"), (User::CODEC, "codec", "call")];
    for (user, domain, verb) in clients.into_iter().chain([(User::PREVIEW, "app", "call")]) {
        if !client(user, domain, verb) {
            return Err(format!("{domain} can't use the service"));
        }
    }
    if !reads("hal_buffersync_default", &format!("{PLACE}/property")) {
        return Err("the service can't read its settings".into());
    }
    Ok(stack)
}

/// Something that is denied, and the words of the denial.
fn denied(what: &str, tried: impl FnOnce() -> bool, words: &[&str]) {
    let before = denials().expect("dmesg").len();
    assert!(!tried(), "{what} was not denied");
    let new = denials().expect("dmesg").split_off(before);
    let told = new.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(told, "{what}: no denial with {words:?} in {new:?}");
}

fn source(domain: &str) -> String {
    format!("scontext=u:r:{domain}:s0 ")
}

/// Whatever happens, those that come after are not confined.
struct Permissive;

impl Drop for Permissive {
    fn drop(&mut self) {
        let _ = enforce(false);
    }
}

/// One test: there is one kernel.
#[test]
fn the_policy_is_what_it_has_to_be() {
    assert_eq!(stage(""), Path::new("/stage/"), "it replaces the policy: in the guest only");
    let _permissive = Permissive;
    prepare();
    unlimited_log().expect("printk_ratelimit");
    load(&stage("sepolicy/policy")).expect("load");
    label_files();
    enforce(true).expect("enforce");

    let stack = works().unwrap_or_else(|why| panic!("{why}; {:?}", denials()));
    let unexpected = denials().expect("dmesg");
    assert!(unexpected.is_empty(), "unexpected denials: {unexpected:#?}");

    denied(
        "a call of the service by an intruder",
        || client(User::CAMERA, "intruder", "call"),
        &["{ call }", &source("intruder"), "tcontext=u:r:hal_buffersync_default:s0"],
    );
    denied(
        "a second service manager",
        || {
            let mut hub = command(User::ROOT, "camera", stage("bin/rsb_hub"));
            succeeds(hub.args(["--config", "/run/buffersync-hub.d", "--device", "vndbinder"]))
        },
        &["{ set_context_mgr }", &source("camera")],
    );
    denied(
        "a heap, opened by the service",
        || reads("hal_buffersync_default", "/dev/dma_heap/system"),
        &["dmabuf_system_heap_device", &source("hal_buffersync_default")],
    );
    denied(
        "the service's settings, read by an app",
        || reads("app", &format!("{PLACE}/property")),
        &["vendor_buffersync_prop", &source("app")],
    );
    denied(
        "the network, opened by the service",
        || {
            let mut nc = command(User::ROOT, "hal_buffersync_default", "/bin/busybox");
            succeeds(nc.args(["nc", "127.0.0.1", "1"]))
        },
        &["tcp_socket", &source("hal_buffersync_default")],
    );
    drop(stack);
    each_statement_is_needed();
}

/// Without any one of the vendor's statements, something that has to work does not.
fn each_statement_is_needed() {
    let list = fs::read_to_string(stage("sepolicy/statements")).expect("statements");
    assert!(list.lines().count() >= 7, "{list}");
    for (nth, statement) in list.lines().enumerate() {
        enforce(false).expect("enforce");
        load(&stage(&format!("sepolicy/without-{nth}"))).expect("load");
        enforce(true).expect("enforce");
        let result = works();
        println!(
            "   without `{statement}`: {}",
            result.as_ref().err().map_or("works", |why| { why.lines().next().unwrap_or_default() })
        );
        assert!(result.is_err(), "nothing needs `{statement}`");
    }
}
