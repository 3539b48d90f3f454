// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! A seed decides these before the first step: limits, clients, and how bad the world is.

use buffersync_kernel::random::Random;
use buffersync_kernel::site::Faults;
use buffersync_service::config::Config;
use buffersync_service::quota::Resources;

use crate::refusals::Most;

#[derive(Clone, Debug)]
pub struct Plan {
    pub config: Config,
    pub resources: Resources,
    /// The service's real limit of descriptors.
    pub limit: u32,
    pub clients: usize,
    pub buffers: usize,
    /// Clients' calls.
    pub calls: u64,
    pub faults: Faults,
    /// See the kernel's world.
    pub switch: u32,
    pub late_fences: u32,
    pub old_kernel: bool,
    /// Nanoseconds that a step takes.
    pub tick: u64,
    /// Evicted holders of this many in 4 go on.
    pub stubborn: u64,
    /// One step in so many restarts the service; 0: none.
    pub restarts: u32,
    /// The service is young when the clients come.
    pub young: bool,
    /// One choice in so many is nonsense.
    pub nonsense: u32,
    /// One chance to read events in so many is not taken.
    pub lazy: u32,
    /// Nobody reads, and clients stay.
    pub silent: bool,
}

/// One history in 40 is silent.
const SILENT: [u32; 40] = {
    let mut all = [0; 40];
    all[0] = 1;
    all
};

/// Uids of the clients; one is the system's.
pub const UIDS: [u32; 3] = [10_001, 10_002, 1000];

impl Plan {
    pub fn new(random: &mut Random, calls: u64) -> Self {
        let mut pick = |all: &[u32]| all[random.below(all.len())];
        let max_hold_ms = pick(&[50, 200, 200, 1000]);
        let config = Config {
            threads: 1,
            sync_workers: pick(&[1, 2, 2, 3]),
            default_hold_ms: pick(&[20, 100]).min(max_hold_ms),
            max_hold_ms,
            max_groups_per_uid: pick(&[2, 4, 8]),
            max_buffers_per_group: pick(&[2, 4, 6]),
            max_locks_per_group: pick(&[2, 4, 32]),
            max_buffers_per_uid: pick(&[6, 64]),
            max_queued_per_uid: pick(&[2, 16]),
            max_fences_per_uid: pick(&[3, 64]),
            max_remembered: pick(&[0, 1, 64, 64]),
            max_fds_per_handle: 8,
            read_grant_ms: pick(&[20, 1000]),
            implicit_fences: pick(&[1, 1, 1, 1, 0]),
            ..Config::default()
        };
        let tight = pick(&[0, 0, 0, 0, 1]) == 1;
        let faults = match pick(&[0, 1, 1, 2]) {
            0 => Faults::None,
            1 => Faults::OneIn(200),
            _ => Faults::OneIn(20),
        };
        let least = Resources::least(&config);
        // Nobody reads for so long that channels are full.
        let silent = pick(&SILENT) == 1;
        let calls = if silent { 20 * calls } else { calls };
        Self {
            resources: Resources {
                descriptors: if tight { least } else { 1 << 20 },
                // Some records of each uid, or as many as there are.
                unread: u64::from(pick(&[u32::MAX, u32::MAX, 1 << 16])),
                ..Resources::AMPLE
            },
            limit: if tight { 12 + pick(&[0, 4, 8, 16]) } else { least as u32 },
            clients: if silent { 2 } else { pick(&[2, 3, 4, 6]) as usize },
            buffers: if silent { 1 } else { pick(&[1, 2, 3, 6]) as usize },
            calls: calls * u64::from(pick(&[1, 1, 1, 4])) / 2,
            faults,
            switch: pick(&[0, 0, 8, 3]),
            late_fences: pick(&[0, 30]),
            old_kernel: pick(&[0, 0, 0, 0, 0, 1]) == 1,
            tick: u64::from(pick(&[0, 20_000, 20_000])),
            stubborn: pick(&[0, 2, 4]).into(),
            restarts: pick(&[0, 0, 400]),
            young: pick(&[0, 0, 1]) == 1,
            nonsense: pick(&[10, 40, 1000]),
            lazy: if silent { 1 } else { pick(&[2, 4, 60]) },
            silent,
            config,
        }
    }

    pub fn most(&self) -> Most {
        let config = &self.config;
        Most {
            groups: config.max_groups_per_uid as usize,
            buffers: config.max_buffers_per_group as usize,
            buffers_of_uid: config.max_buffers_per_uid as usize,
            locks: config.max_locks_per_group as usize,
            queued: config.max_queued_per_uid as usize,
            fences: config.max_fences_per_uid as usize,
        }
    }

    /// System calls fail for no reason that the books know.
    pub fn is_short(&self) -> bool {
        self.faults != Faults::None || self.limit < Resources::least(&self.config) as u32
    }
}
