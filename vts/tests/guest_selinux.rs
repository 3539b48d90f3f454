// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The vendor's SELinux policy, enforced by the kernel and the service manager. Allowed actions work
//! without a denial; other actions are denied, by a rule that the audit log names; and every statement of
//! the policy is needed.
//!
//! Service manager, service and clients run in the domains that they have on a device. The service
//! manager asks SELinux, like Android's; rsb_hub does not.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use buffersync_testbed_guest::fdpass;
use buffersync_testbed_guest::selinux::{allows, denials, enforce, label, load, unlimited_log};
use buffersync_testbed_guest::stack::{patient, Stack};
use buffersync_testbed_guest::user::User;

/// The programs that start in their domains, on a file system that keeps labels.
const PLACE: &str = "/tmp/selinux";
const SERVICE: &str = "vendor.buffersync-service";
const SERVICE_DOMAIN: &str = "hal_buffersync_default";
const CAMERA: &str = "hal_camera_default";
const ALLOCATOR: &str = "hal_graphics_allocator_default";
const COMPOSER: &str = "hal_graphics_composer_default";

/// For each rule about descriptors, the opener whose use fails without it: a word of the rule, and the opener.
const OPENERS: [(&str, &str); 8] = [
    ("hal_buffersync_client:", "hal_npu_default"),
    ("hal_graphics_allocator_server:", ALLOCATOR),
    ("hal_graphics_composer_server:", COMPOSER),
    (" surfaceflinger:", "surfaceflinger"),
    ("appdomain", "untrusted_app"),
    ("hal_codec2_client:", "mediaserver"),
    ("hal_codec2_server:", "mediaswcodec"),
    ("hal_camera_server:", "hal_camera_usb"),
];

/// The descriptors that each kind of client sends: the client, the opener of the buffer, the opener of the fence.
const HANDED: [(User, &str, &str, Option<&str>); 6] = [
    (User::CAMERA, CAMERA, ALLOCATOR, Some("surfaceflinger")),
    (User::CAMERA, CAMERA, ALLOCATOR, Some("untrusted_app")),
    (User::CODEC, "mediacodec", "mediaserver", Some("hal_camera_usb")),
    (User::PREVIEW, "app", ALLOCATOR, Some(COMPOSER)),
    (User::PREVIEW, "app", "mediaswcodec", None),
    (User::STUCK, "hal_npu_default", ALLOCATOR, Some("hal_npu_default")),
];

fn stage(name: &str) -> PathBuf {
    std::env::var_os("BUFFERSYNC_STAGE").map_or_else(|| "/stage".into(), PathBuf::from).join(name)
}

/// Starts a program in a domain, under a user.
fn command(user: User, domain: &str, program: impl AsRef<Path>) -> Command {
    let mut command = user.command(stage("bin/buffersync-in-domain"));
    command.arg(domain).arg(program.as_ref()).stdin(Stdio::null());
    command
}

/// Tells if the program succeeded.
fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().expect("spawn").success()
}

/// Starts a client of `buffersync_vts::client` in a domain.
fn client(user: User, domain: &str, verb: &str) -> bool {
    let mut client = command(user, domain, stage("bin/VtsHalBufferSyncTargetTest"));
    succeeds(client.args(["client", verb]))
}

fn reads(domain: &str, path: &str) -> bool {
    succeeds(command(User::ROOT, domain, "/bin/busybox").args(["cat", path]))
}

/// Tells if a domain can use a descriptor that another domain has opened.
fn passes(from: &str, to: &str) -> bool {
    let (giver, taker) = UnixStream::pair().expect("socketpair");
    let opener = |domain: &str, verb: &str, socket: UnixStream| {
        let mut command = command(User::ROOT, domain, stage("bin/buffersync-opener"));
        succeeds(command.arg(verb).stdin(OwnedFd::from(socket)))
    };
    assert!(opener(from, "pipe", giver), "nothing was sent");
    opener(to, "use", taker)
}

/// A process and a socket to it. Its output is dropped, because the denial names the failure.
struct Peer {
    child: Child,
    socket: UnixStream,
}

impl Peer {
    fn start(command: &mut Command) -> io::Result<Self> {
        let (socket, of_peer) = UnixStream::pair()?;
        let command = command.stdin(OwnedFd::from(of_peer));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { child, socket })
    }

    /// Starts an opener of a `buffer` or a `fence`, and receives the descriptor.
    fn opener(domain: &str, what: &str) -> io::Result<(Self, OwnedFd)> {
        let mut command = command(User::ROOT, domain, stage("bin/buffersync-opener"));
        let opener = Self::start(command.arg(what))?;
        let fd = fdpass::receive(&opener.socket)?.pop().ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok((opener, fd))
    }

    /// Starts a client, and sends it descriptors.
    fn client(user: User, domain: &str, verb: &str, fds: &[&OwnedFd]) -> io::Result<Self> {
        let mut command = command(user, domain, stage("bin/VtsHalBufferSyncTargetTest"));
        let client = Self::start(command.args(["client", verb]))?;
        fdpass::send(&client.socket, &fds.iter().map(|fd| fd.as_fd()).collect::<Vec<_>>())?;
        Ok(client)
    }

    fn hears(&self) -> io::Result<()> {
        (&self.socket).write_all(b"x")
    }

    fn says(&self) -> io::Result<()> {
        (&self.socket).read_exact(&mut [0])
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client sends descriptors that others have opened. If the allocator opened the buffer, an app is the next
/// holder. It gets the fence from the service, and may have no rights on the fence's opener.
fn hands(user: User, domain: &str, of: &str, fence: Option<&str>) -> io::Result<()> {
    for _ in 0..5 {
        let begin = Instant::now();
        match hands_once(user, domain, of, fence) {
            // vgem signals a fence by itself after 10 s, and then there is no fence to hand on.
            Err(_) if begin.elapsed() > Duration::from_secs(9) => {}
            result => return result,
        }
    }
    Err(io::Error::other("the machine is too slow: it takes longer than a fence lasts"))
}

fn hands_once(user: User, domain: &str, of: &str, fence: Option<&str>) -> io::Result<()> {
    let (_pool, buffer) = Peer::opener(of, "buffer")?;
    let fence = fence.map(|domain| Peer::opener(domain, "fence")).transpose()?;
    let fds: Vec<&OwnedFd> =
        [&buffer].into_iter().chain(fence.as_ref().map(|(_, fd)| fd)).collect();
    let giver = Peer::client(user, domain, "give", &fds)?;
    giver.says()?;
    let taker = match fence {
        Some(_) if of == ALLOCATOR => Some(Peer::client(User::PREVIEW, "app", "take", &[&buffer])?),
        _ => None,
    };
    taker.as_ref().map_or(Ok(()), Peer::says)?;
    giver.hears()?;
    taker.as_ref().map_or(Ok(()), Peer::says)?;
    // When its socket ends, it has unlocked and ended.
    let mut giver = giver;
    if giver.child.wait()?.success() {
        Ok(())
    } else {
        Err(io::Error::other("it failed to unlock"))
    }
}

/// Prepares the programs that the stack starts. Each enters its domain; the service does so by the label of
/// its file, like under init.
fn prepare() {
    fs::create_dir_all(PLACE).expect("place");
    let place = Path::new(PLACE);
    let script = |name: &str, domain: &str, program: &Path, arguments: &str| {
        let in_domain = stage("bin/buffersync-in-domain");
        let (in_domain, program) = (in_domain.display(), program.display());
        let text = format!("#!/bin/sh\nexec {in_domain} {domain} {program} {arguments}\n");
        executable(&place.join(name), text.as_bytes());
    };
    let service = place.join("service");
    let bytes = fs::read(stage("bin").join(SERVICE)).expect("the service");
    executable(&service, &bytes);
    let manager = stage("bin/buffersync-servicemanager");
    let contexts = stage("sepolicy/service_contexts");
    // Replaces the service manager that checks uids.
    script("rsb_hub", "servicemanager", &manager, &contexts.display().to_string());
    script(SERVICE, "init", &service, "\"$@\"");
    let _ = std::os::unix::fs::symlink(stage("bin/rsb_service"), place.join("rsb_service"));
    fs::write(place.join("property"), "ro.vendor.buffersync.max_hold_ms=1000\n").expect("property");
    fs::write(place.join("private"), "somebody's\n").expect("file");
}

fn executable(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("write");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
}

/// Sets the labels, which needs a policy that has them.
fn label_files() {
    let place = Path::new(PLACE);
    label(&place.join("service"), "hal_buffersync_default_exec").expect("label");
    label(&place.join("property"), "vendor_buffersync_prop").expect("label");
    label(&place.join("private"), "app_data_file").expect("label");
    label(Path::new("/dev/binder"), "binder_device").expect("label");
    label(Path::new("/dev/dma_heap/system"), "dmabuf_system_heap_device").expect("label");
    for card in fs::read_dir("/dev/dri").expect("vgem").flatten() {
        label(&card.path(), "gpu_device").expect("label");
    }
}

/// Tells if init would set a setting of the service for a domain. Init asks the policy about a class that
/// the kernel does not know (system/core/init: property_service.cpp); the test asks in its place.
fn sets(domain: &str) -> bool {
    let (source, target) = (format!("u:r:{domain}:s0"), "u:object_r:vendor_buffersync_prop:s0");
    allows(&source, target, "property_service", "set").expect("selinuxfs")
}

/// Runs everything that must work on a device. Returns the first failure.
fn works() -> Result<Stack, String> {
    let out = std::env::var_os("BUFFERSYNC_OUT").map_or_else(|| "/out".into(), PathBuf::from);
    let stack = Stack::start(Path::new(PLACE), &out.join("log-selinux"), &patient());
    let stack = stack.map_err(|error| error.to_string())?;
    let domain = fs::read_to_string(format!("/proc/{}/attr/current", stack.service_pid()));
    let domain = domain.map_err(|error| error.to_string())?;
    if domain.trim_end_matches('\0') != format!("u:r:{SERVICE_DOMAIN}:s0") {
        return Err(format!("the service is in {domain}"));
    }
    let clients = [
        (User::CAMERA, CAMERA, "call"),
        (User::CODEC, "mediacodec", "call"),
        (User::PREVIEW, "app", "call"),
        (User::ROOT, "dumpstate", "dump"),
        (User::ROOT, "shell", "dump"),
    ];
    for (user, domain, verb) in clients {
        if !client(user, domain, verb) {
            return Err(format!("{domain} can't {verb}"));
        }
    }
    for (user, domain, buffer, fence) in HANDED {
        let what = || format!("{domain}, buffer of {buffer}, fence of {fence:?}");
        hands(user, domain, buffer, fence).map_err(|error| format!("{}: {error}", what()))?;
    }
    if !reads(SERVICE_DOMAIN, &format!("{PLACE}/property")) {
        return Err("the service can't read its settings".into());
    }
    if !sets("vendor_init") {
        return Err("/vendor/build.prop can't have the service's settings".into());
    }
    Ok(stack)
}

/// Runs an action that must be denied, and checks the words of the denial.
fn denied(what: &str, tried: impl FnOnce() -> bool, words: &[&str]) {
    let before = denials().expect("dmesg").len();
    assert!(!tried(), "{what} was not denied");
    let new = denials().expect("dmesg").split_off(before);
    let told = new.iter().find(|line| words.iter().all(|word| line.contains(word)));
    let Some(told) = told else { panic!("{what}: no denial with {words:?} in {new:?}") };
    println!("   {what}: {}", told.split("avc:").nth(1).unwrap_or(told).trim());
}

fn source(domain: &str) -> String {
    format!("scontext=u:r:{domain}:s0 ")
}

/// Makes SELinux permissive at the end in any case, for the programs that run later.
struct Permissive;

impl Drop for Permissive {
    fn drop(&mut self) {
        let _ = enforce(false);
    }
}

/// One test, because there is one kernel.
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
    assert!(passes(CAMERA, CAMERA), "descriptors can't be passed at all");
    let unexpected = denials().expect("dmesg");
    assert!(unexpected.is_empty(), "unexpected denials: {unexpected:#?}");

    strangers_are_denied();
    the_service_is_confined();
    drop(stack);
    who_finds_it_can_not_call_it();
    each_statement_is_needed();
}

fn strangers_are_denied() {
    let service = "tcontext=u:object_r:hal_buffersync_service:s0";
    denied(
        "an intruder looks the service up",
        || client(User::CAMERA, "intruder", "call"),
        &["{ find }", &source("intruder"), service, "tclass=service_manager"],
    );
    denied(
        // One that may look the service up sees that it runs, and does not try.
        "an intruder registers itself under the service's name",
        || {
            let mut impostor = command(User::CAMERA, "intruder", stage("bin").join(SERVICE));
            succeeds(impostor.args(["--device", "/dev/binder"]))
        },
        &["{ add }", &source("intruder"), service, "tclass=service_manager"],
    );
    denied(
        "a client becomes the service manager",
        || {
            let mut hub = command(User::ROOT, CAMERA, stage("bin/rsb_hub"));
            succeeds(hub.args(["--config", "/run/buffersync-hub.d", "--device", "vndbinder"]))
        },
        &["{ set_context_mgr }", &source(CAMERA)],
    );
    for taker in [CAMERA, SERVICE_DOMAIN] {
        denied(
            "a descriptor of a stranger's",
            || passes("intruder", taker),
            &["{ use }", &source(taker), "tcontext=u:r:intruder:s0", "tclass=fd"],
        );
    }
    denied(
        "a fence of an isolated app's, handed on by the camera",
        || hands(User::CAMERA, CAMERA, ALLOCATOR, Some("isolated_app")).is_ok(),
        &["{ use }", &source(SERVICE_DOMAIN), "tcontext=u:r:isolated_app:s0", "tclass=fd"],
    );
    for domain in [CAMERA, "app", "surfaceflinger", SERVICE_DOMAIN] {
        assert!(!sets(domain), "{domain} may set the service's settings");
    }
    denied(
        "the service's settings, read by an app",
        || reads("app", &format!("{PLACE}/property")),
        &["vendor_buffersync_prop", &source("app")],
    );
}

fn the_service_is_confined() {
    denied(
        "a heap, opened by the service",
        || reads(SERVICE_DOMAIN, "/dev/dma_heap/system"),
        &["dmabuf_system_heap_device", &source(SERVICE_DOMAIN)],
    );
    denied(
        "somebody's file, read by the service",
        || reads(SERVICE_DOMAIN, &format!("{PLACE}/private")),
        &["app_data_file", &source(SERVICE_DOMAIN)],
    );
    denied(
        "the network, opened by the service",
        || {
            let mut nc = command(User::ROOT, SERVICE_DOMAIN, "/bin/busybox");
            succeeds(nc.args(["nc", "127.0.0.1", "1"]))
        },
        &["tcp_socket", &source(SERVICE_DOMAIN)],
    );
}

/// With a policy that lets an intruder find the service, the kernel still denies the call.
fn who_finds_it_can_not_call_it() {
    reload("policy-that-lets-find");
    let _stack = works().unwrap_or_else(|why| panic!("{why}; {:?}", denials()));
    denied(
        "an intruder calls the service",
        || client(User::CAMERA, "intruder", "call"),
        &["{ call }", &source("intruder"), &format!("tcontext=u:r:{SERVICE_DOMAIN}:s0")],
    );
}

/// Without any single statement of the vendor's policy, something that must work fails.
fn each_statement_is_needed() {
    let list = fs::read_to_string(stage("sepolicy/statements")).expect("statements");
    assert_eq!(list.lines().count(), 21, "{list}");
    for (nth, statement) in list.lines().enumerate() {
        reload(&format!("without-{nth}"));
        let before = denials().expect("dmesg").len();
        let result = works();
        println!(
            "   without `{statement}`: {}",
            result.as_ref().err().map_or("works", |why| { why.lines().next().unwrap_or_default() })
        );
        assert!(result.is_err(), "nothing needs `{statement}`");
        // A buffer and a fence that were opened by a domain whose descriptors the service may not use.
        if statement.ends_with(":fd use;") {
            let new = denials().expect("dmesg").split_off(before);
            let opener = OPENERS.iter().find(|(word, _)| statement.contains(word));
            let (_, opener) = opener.unwrap_or_else(|| panic!("who opens for {statement}?"));
            let target = format!("tcontext=u:r:{opener}:s0 tclass=fd");
            let words = ["{ use }", &source(SERVICE_DOMAIN), &target];
            let told = |line: &&String| words.iter().all(|words| line.contains(words));
            let told = new.iter().find(told).unwrap_or_else(|| panic!("no denial in {new:?}"));
            println!("      {}", told.split("avc:").nth(1).unwrap_or(told).trim());
        }
    }
}

fn reload(policy: &str) {
    enforce(false).expect("enforce");
    load(&stage("sepolicy").join(policy)).expect("load");
    enforce(true).expect("enforce");
}
