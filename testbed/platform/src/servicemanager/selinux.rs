// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The log of denials: the service manager asks the policy itself, so it must log denials itself.

use std::fs::{self, File};
use std::io::Write;

const SELINUXFS: &str = "/sys/fs/selinux";
/// The class of the service manager's permissions.
pub const CLASS: &str = "service_manager";

/// Tells if SELinux is enforcing.
pub fn is_enforced() -> bool {
    fs::read_to_string(format!("{SELINUXFS}/enforce")).is_ok_and(|text| text.trim() == "1")
}

/// Logs a denial in the kernel's log, in the words of Android's service manager.
pub fn audit(permission: &str, name: &str, uid: u32, pid: i32, source: &str, target: &str) {
    let line = format!(
        "avc:  denied  {{ {permission} }} for pid={pid} uid={uid} name={name} scontext={source} \
         tcontext={target} tclass={CLASS} permissive={}\n",
        u8::from(!is_enforced())
    );
    let logged = File::options().write(true).open("/dev/kmsg");
    let logged = logged.and_then(|mut log| log.write_all(line.as_bytes()));
    if let Err(error) = logged {
        eprintln!("{line}/dev/kmsg: {error}");
    }
}
