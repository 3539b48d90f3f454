// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The guest's root: busybox, the modules, and the script that brings everything up.
//!
//! What is to be run is not in it: that comes through a shared folder, so that one image serves
//! every run.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cpio::Archive;
use crate::modules::{self, Module};
use crate::provision::Parts;
use crate::{during, progress, Failure};

/// The guest's first process.
const INIT: &str = include_str!("guest-init.sh");

/// Modules that the guest needs, beside what they depend on.
const MODULES: [&str; 9] = [
    "virtio_pci",
    "9pnet_virtio",
    "9p",
    "binder_linux",
    "vgem",
    "udmabuf",
    "system_heap",
    "virtio_rng",
    "fuse",
];

/// Modules of the camera and the display. Only a machine that has both loads them, because they take time.
/// Linux 6.14 calls cirrus cirrus_qemu.
const DEVICES: [&str; 3] = ["vivid", "cirrus", "cirrus_qemu"];

/// Users of the guest: root, the service, and one for each client.
const PASSWD: &str = "\
root:x:0:0::/:/bin/sh
buffersync:x:1100:1100::/:/bin/false
camera:x:1101:1101::/:/bin/false
codec:x:1102:1102::/:/bin/false
preview:x:1103:1103::/:/bin/false
stuck:x:1104:1104::/:/bin/false
writer:x:1105:1105::/:/bin/false
display:x:1106:1106::/:/bin/false
nobody:x:65534:65534::/:/bin/false
";

/// Makes the image in `cache`, or finds it there.
pub fn make(parts: &Parts, cache: &Path) -> Result<PathBuf, Failure> {
    let image = cache.join("initramfs.cpio");
    let stamp = cache.join("initramfs.stamp");
    let (modules, busybox) = (parts.modules.display(), parts.busybox.display());
    let of = format!("{modules}\n{busybox}\n{MODULES:?}{DEVICES:?}\n{INIT}{PASSWD}");
    if image.exists() && fs::read_to_string(&stamp).is_ok_and(|made_of| made_of == of) {
        return Ok(image);
    }
    progress("making the guest's initramfs");
    let collect = |wanted: &[&str]| modules::collect(&parts.modules, wanted, &parts.busybox);
    let always = collect(&MODULES)?.len();
    let modules = collect(&[&MODULES[..], &DEVICES].concat())?;
    let busybox = during(parts.busybox.display(), fs::read(&parts.busybox))?;
    let bytes = during("initramfs", archive(modules.split_at(always), &busybox))?;
    let fresh = cache.join(format!(".initramfs-{}", std::process::id()));
    during(fresh.display(), fs::write(&fresh, bytes))?;
    during(image.display(), fs::rename(&fresh, &image))?;
    during(stamp.display(), fs::write(&stamp, of))?;
    Ok(image)
}

/// `modules`: those that are always loaded, and the rest of those for the devices.
fn archive(modules: (&[Module], &[Module]), busybox: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut archive = Archive::new(Vec::new());
    for folder in [
        "bin", "dev", "devices", "etc", "host", "modules", "out", "proc", "run", "stage", "sys",
        "tmp",
    ] {
        archive.folder(folder)?;
    }
    archive.file("init", 0o755, INIT.as_bytes())?;
    archive.file("bin/busybox", 0o755, busybox)?;
    archive.file("etc/passwd", 0o644, PASSWD.as_bytes())?;
    let group: String = PASSWD
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let (name, uid) = (fields.next()?, fields.nth(1)?);
            Some(format!("{name}:x:{uid}:\n"))
        })
        .collect();
    archive.file("etc/group", 0o644, group.as_bytes())?;
    // Numbered: the script loads them in the order of their names.
    for (folder, modules) in [("modules", modules.0), ("devices", modules.1)] {
        for (position, module) in modules.iter().enumerate() {
            let path = format!("{folder}/{position:02}-{}.ko", module.name);
            archive.file(&path, 0o644, &module.object)?;
        }
    }
    archive.finish()
}
