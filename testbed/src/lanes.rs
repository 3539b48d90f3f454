// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Shell scripts that run at the same time in the testbed, each as if it were alone.
//!
//! A lane has a binder device, a `/run` and a table of processes of its own (namespaces), so that its service
//! manager, its service and its clients see no others. The kernel's trace and the SELinux policy are one for
//! all: scripts that use the same one belong into one lane.

use std::fmt::Write as _;

/// The driver has one service manager for each device. Two lanes are as many as the guest has CPUs.
const DEVICES: [&str; 2] = ["binder", "hwbinder"];
/// As many scripts can run at the same time.
pub const LANES: usize = DEVICES.len();

/// Shell lines that run the scripts and wait for them. Without a second binder device (`--native`) they run one
/// after the other. `$status` is 1 afterwards if one ended with another status than 0.
pub fn script(lanes: &[String; LANES]) -> String {
    let mut script = String::from("lanes=\n");
    for (nth, (lane, device)) in lanes.iter().zip(DEVICES).enumerate() {
        let _ = write!(
            script,
            "cat >/tmp/lane-{nth} <<'END'\n{lane}\nEND\n\
             if [ -c /dev/hwbinder ]; then\n\
             unshare -m -p -f sh -c 'mount -t proc proc /proc && \
             mount -t tmpfs -o mode=0755 run /run && \
             mount --bind /dev/{device} /dev/binder && exec sh /tmp/lane-{nth}' & lanes=\"$lanes $!\"\n\
             else sh /tmp/lane-{nth} || status=1; fi\n"
        );
    }
    script + "for lane in $lanes; do wait $lane || status=1; done\n"
}
