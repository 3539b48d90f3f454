// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The users of the testbed (its `/etc/passwd` names them too).

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A uid, and a gid of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User(pub u32);

impl User {
    /// May do everything.
    pub const ROOT: Self = Self(0);
    /// Runs the service.
    pub const SERVICE: Self = Self(1100);
    /// A client.
    pub const CAMERA: Self = Self(1101);
    /// A client.
    pub const CODEC: Self = Self(1102);
    /// A client.
    pub const PREVIEW: Self = Self(1103);
    /// A client that never lets go.
    pub const STUCK: Self = Self(1104);
    /// A client: saves what the codec makes.
    pub const WRITER: Self = Self(1105);
    /// A client: shows what the camera captures.
    pub const DISPLAY: Self = Self(1106);

    /// `AID_SYSTEM` of Android: may see all of a dump.
    pub const SYSTEM: Self = Self(1000);
    /// `AID_SHELL`: dumpsys of a developer.
    pub const SHELL: Self = Self(2000);

    /// Number of the clients for tests with many uids.
    pub const CROWD: u32 = 64;

    /// One of these clients.
    pub fn of_crowd(nth: u32) -> Self {
        Self(1200 + nth % Self::CROWD)
    }

    /// Those that the service manager lets find the service, root aside.
    pub const CLIENTS: [Self; 4] = [Self::CAMERA, Self::CODEC, Self::PREVIEW, Self::STUCK];

    /// Clients of the demo only.
    pub const DEMO_CLIENTS: [Self; 2] = [Self::WRITER, Self::DISPLAY];

    /// A command that runs as this user: no supplementary groups, and no capabilities, which the
    /// kernel takes away with the last root uid.
    pub fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        if nix::unistd::geteuid().as_raw() != self.0 {
            // Clears the supplementary groups too.
            command.uid(self.0).gid(self.0);
        }
        command
    }
}
