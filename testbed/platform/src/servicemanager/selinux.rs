// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! How denials are told: what the service manager asks of the policy it has to log by itself.

use std::fs::{self, File};
use std::io::Write;

const SELINUXFS: &str = "/sys/fs/selinux";
/// The class that the service manager asks about.
pub const CLASS: &str = "service_manager";

/// Whether what is denied is to be denied.
pub fn is_enforced() -> bool {
    fs::read_to_string(format!("{SELINUXFS}/enforce")).is_ok_and(|text| text.trim() == "1")
}

/// Logs a denial where the kernel logs its own, in the words of Android's service manager.
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
