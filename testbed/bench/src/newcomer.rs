// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `buffersync-bench newcomer FILE`: 64 uids take all that they may have of groups, buffers, waiting locks and
//! fences. Then one more uid opens a group, adds four buffers, locks and unlocks. Quotas are for each uid; this asks
//! whether the service's own limits (descriptors, memory) hold for all of them together.

use std::fs;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use binder::{ParcelFileDescriptor, Strong};
use buffersync_aidl::aidl::vendor::buffersync::Access::Access;
use buffersync_aidl::aidl::vendor::buffersync::GroupOptions::GroupOptions;
use buffersync_aidl::aidl::vendor::buffersync::IBufferSync::IBufferSync;
use buffersync_aidl::aidl::vendor::buffersync::ISyncGroup::ISyncGroup;
use buffersync_aidl::aidl::vendor::buffersync::OpenedGroup::OpenedGroup;
use buffersync_aidl::aidl::vendor::buffersync::ReleaseFence::ReleaseFence;
use buffersync_aidl::runtime;
use buffersync_client::BufferSync;
use buffersync_testbed_guest::user::User;
use buffersync_testbed_guest::vgem::Vgem;
use serde_json::{json, Value};

use crate::alone::buffers;
use crate::crew::{self, Crew, Member, Shared};
use crate::flood::handle;
use crate::stats::now;

/// The uids that fill.
const UIDS: u32 = User::CROWD;
/// The word that says that the locks and fences may be filled too, which last some seconds only.
const SECOND: usize = 2;
/// Words that count what all of them got, and who is done with it.
const GROUPS: usize = 3;
const BUFFERS: usize = 4;
const WAITING: usize = 5;
const FENCES: usize = 6;
const DONE: usize = 7;
/// The newcomer's steps: 1 + the time in nanoseconds of a step that was done; 0 for one that failed or was not tried.
const STEPS: usize = 16;
const NAMES: [&str; 7] = ["openGroup", "add", "add", "add", "add", "lock", "unlock"];

fn service() -> Strong<dyn IBufferSync> {
    binder::check_interface(buffersync_aidl::DEFAULT_INSTANCE).expect("the service")
}

fn add(shared: &Shared, word: usize, count: usize) {
    shared.word(word).fetch_add(count as u64, SeqCst);
}

/// `buffersync-bench fill`: one of the uids.
pub fn fill(shared: &Shared) -> std::io::Result<()> {
    let _sync = BufferSync::connect().expect("connect");
    let service = service();
    let may = service.getCapabilities().expect("getCapabilities");
    let most = |count: i32| usize::try_from(count).unwrap_or(0);
    let options = GroupOptions { holdLimitMs: may.maxHoldMs, ..Default::default() };
    // Kept until the end: a group ends with its last reference.
    let mut groups: Vec<OpenedGroup> = Vec::new();
    for _ in 0..most(may.maxGroupsPerUid) {
        match service.openGroup("bench/fill", &options) {
            Ok(group) => groups.push(group),
            Err(_) => break,
        }
    }
    add(shared, GROUPS, groups.len());
    let of = |group: &OpenedGroup| group.group.clone().expect("a group");
    // A whole group of buffers at a time. Some are for locks that wait: all of those have the same buffers.
    let (each, locks) = (most(may.maxBuffersPerGroup), most(may.maxLocksPerGroup));
    let waiting_groups = most(may.maxQueuedPerUid).div_ceil(locks.min(each));
    let contended = buffers(each);
    let mut filled: Vec<(Strong<dyn ISyncGroup>, Vec<i64>)> = Vec::new();
    for (nth, group) in groups.iter().enumerate().take(most(may.maxBuffersPerUid) / each) {
        let own = (nth > waiting_groups).then(|| buffers(each));
        let mut ids = Vec::new();
        for some in own.as_ref().unwrap_or(&contended).chunks(most(may.maxFdsPerHandle)) {
            match of(group).add(&handle(some), Access::DMA_WRITE) {
                Ok(more) => ids.extend(more),
                Err(_) => break,
            }
        }
        add(shared, BUFFERS, ids.len());
        filled.push((of(group), ids));
    }
    crew::begin(shared);
    while shared.word(SECOND).load(SeqCst) == 0 {
        std::thread::sleep(Duration::from_millis(2));
    }
    let (waiters, rest) = filled.split_at((waiting_groups + 1).min(filled.len()));
    if let Some(((holder, _), waiters)) = waiters.split_first() {
        let _ = holder.lock(1, &[], &[], 0);
        let mut left = most(may.maxQueuedPerUid);
        for (group, ids) in waiters {
            for (number, id) in (1..).zip(ids.iter().take(locks.min(left))) {
                if group.lock(number, &[*id], &[], 0).is_ok() {
                    add(shared, WAITING, 1);
                    left -= 1;
                }
            }
        }
    }
    let vgem = Vgem::open()?;
    let driver = vgem.allocate(4096)?;
    let fence = vgem.attach(&driver, true)?;
    let file = driver.dmabuf.sync_file()?;
    let mut left = most(may.maxFencesPerUid);
    for (group, ids) in rest {
        let fences: Vec<ReleaseFence> = ids
            .iter()
            .take(left.min(most(may.maxFencesPerGroup)))
            .map(|id| {
                let file = file.try_clone().expect("dup");
                ReleaseFence { bufferId: *id, fence: Some(ParcelFileDescriptor::new(file)) }
            })
            .collect();
        let locked = group.lock(1, &[], &[], 0).is_ok();
        if locked && group.unlockBuffers(1, &[], &fences).is_ok() {
            add(shared, FENCES, fences.len());
            left -= fences.len();
        }
        if left == 0 {
            break;
        }
    }
    add(shared, DONE, 1);
    while !crew::is_over(shared) {
        std::thread::sleep(Duration::from_millis(5));
    }
    vgem.signal(fence)
}

/// `buffersync-bench newcomer`: what is left for one more uid.
pub fn newcomer(shared: &Shared) -> std::io::Result<()> {
    let _sync = BufferSync::connect().expect("connect");
    let service = service();
    let all = buffers(4);
    crew::begin(shared);
    while shared.word(DONE).load(SeqCst) < u64::from(UIDS) {
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut begin = now();
    let mut step = 0;
    let mut done = || {
        let end = now();
        shared.word(STEPS + step).store(1 + end - begin, SeqCst);
        (step, begin) = (step + 1, now());
    };
    let mut steps = || -> Result<(), binder::Status> {
        let opened = service.openGroup("bench/newcomer", &GroupOptions::default())?;
        done();
        let group = opened.group.clone().expect("a group");
        for buffer in &all {
            group.add(&handle(std::slice::from_ref(buffer)), Access::DMA_WRITE)?;
            done();
        }
        group.lock(1, &[], &[], 0)?;
        done();
        group.unlock(1)?;
        done();
        Ok(())
    };
    if let Err(status) = steps() {
        eprintln!("bench: the newcomer was refused: {:?}", runtime::failure(&status));
    }
    Ok(())
}

/// The service's open descriptors, and how many it may have.
fn descriptors() -> (usize, String) {
    let service = std::env::var("BUFFERSYNC_SERVICE_PID").unwrap_or_default();
    let open = fs::read_dir(format!("/proc/{service}/fd")).map_or(0, Iterator::count);
    let limits = fs::read_to_string(format!("/proc/{service}/limits")).unwrap_or_default();
    let limit = limits.lines().find(|line| line.starts_with("Max open files"));
    let limit = limit.and_then(|line| line.split_whitespace().nth(3)).unwrap_or("?");
    (open, limit.to_string())
}

pub fn measure() -> std::io::Result<Value> {
    let shared = Shared::new()?;
    let fillers: Vec<Member<'_>> = (0..UIDS)
        .map(|nth| Member { user: User::of_crowd(nth), verb: "fill", number: 0 })
        .collect();
    eprintln!("bench: {UIDS} uids fill their quotas");
    let fillers = Crew::start_all(&fillers, &shared, &[])?;
    let count = |word: usize| shared.word(word).load(SeqCst);
    let newcomer = Member { user: User::CAMERA, verb: "newcomer", number: 0 };
    let mut newcomer = Crew::start_all(&[newcomer], &shared, &[])?;
    crew::go(&shared);
    shared.word(SECOND).store(1, SeqCst);
    newcomer.wait()?;
    let (open, limit) = descriptors();
    let step = |(nth, name): (usize, &&str)| match count(STEPS + nth) {
        0 => json!({ "step": name }),
        time => json!({ "step": name, "ns": time - 1 }),
    };
    let steps: Vec<Value> = NAMES.iter().enumerate().map(step).collect();
    let all = json!({
        "uids": UIDS, "groups": count(GROUPS), "buffers": count(BUFFERS), "waiting": count(WAITING),
        "fences": count(FENCES), "descriptors": open, "limit": limit, "steps": steps,
    });
    fillers.end(&shared)?;
    Ok(all)
}
