// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! SELinux from the outside: policies, labels, what was denied.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

const SELINUXFS: &str = "/sys/fs/selinux";

/// Has the kernel use a policy. It takes one in a single write.
pub fn load(policy: &Path) -> io::Result<()> {
    fs::write(Path::new(SELINUXFS).join("load"), fs::read(policy)?)
}

/// Enforces it, or only reports.
pub fn enforce(on: bool) -> io::Result<()> {
    fs::write(Path::new(SELINUXFS).join("enforce"), if on { "1" } else { "0" })
}

/// What the loaded policy says of a class that the kernel itself never asks about: may `source` do `permission`
/// of `class` to `target`? Those two are contexts. (selinuxfs: `access`, `class/`; libselinux:
/// selinux_check_access(3))
pub fn allows(source: &str, target: &str, class: &str, permission: &str) -> io::Result<bool> {
    let folder = Path::new(SELINUXFS).join("class").join(class);
    let number = |path: &Path| -> io::Result<u32> {
        let text = fs::read_to_string(path)?;
        text.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
    };
    let bit = number(&folder.join("perms").join(permission))?;
    let index = number(&folder.join("index"))?;
    let mut access = File::options().read(true).write(true).open(format!("{SELINUXFS}/access"))?;
    access.write_all(format!("{source} {target} {index}").as_bytes())?;
    let mut decision = String::new();
    access.read_to_string(&mut decision)?;
    // allowed, decided, auditallow, auditdeny (all in hex), sequence number, flags
    let allowed = decision.split_whitespace().next().unwrap_or_default();
    let allowed = u32::from_str_radix(allowed, 16);
    let allowed = allowed.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(allowed & (1 << (bit - 1)) != 0)
}

/// Labels a file: `u:object_r:TYPE:s0`.
pub fn label(path: &Path, of: &str) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let context = CString::new(format!("u:object_r:{of}:s0"))?;
    let bytes = context.as_bytes_with_nul();
    // SAFETY: two strings that end with NUL, and a buffer of the length that is said.
    let result = unsafe {
        libc::setxattr(
            path.as_ptr(),
            c"security.selinux".as_ptr(),
            bytes.as_ptr().cast(),
            bytes.len(),
            0,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The denials that the kernel has logged so far. Call [`unlimited_log`] first.
pub fn denials() -> io::Result<Vec<String>> {
    let output = Command::new("dmesg").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter(|line| line.contains("avc:  denied")).map(str::to_string).collect())
}

/// Has the kernel log every denial: by default it logs ten in five seconds.
pub fn unlimited_log() -> io::Result<()> {
    fs::write("/proc/sys/kernel/printk_ratelimit_burst", "100000")
}
