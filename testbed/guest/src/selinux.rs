// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! SELinux from the outside: policies, labels, what was denied.

use std::ffi::CString;
use std::fs;
use std::io;
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
