// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The run: buffers, service, workers; what happens to them, by chance from a seed; and the account at the end.

use std::error::Error;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use buffersync_testbed_guest::vgem::Vgem;
use buffersync_testbed_guest::{heap, udmabuf};
use nix::sys::memfd::{memfd_create, MemFdCreateFlag};
use std::os::fd::AsFd;

use crate::control::{Control, Count, Order, COUNTS};
use crate::crew::Crew;
use crate::header::{Header, SIZE};
use crate::service::{Service, REGISTERS_AGAIN};
use buffersync_testbed_guest::random::Random;

/// Of a thousand events, the first one that restarts the service.
const RESTART: u64 = 800;

/// The options of the command line.
pub struct Settings {
    time: Duration,
    seed: u64,
    service: Option<PathBuf>,
}

impl Settings {
    pub fn of(args: &[String]) -> Option<Self> {
        let mut settings = Self { time: Duration::from_secs(120), seed: 1, service: None };
        for pair in args.chunks(2) {
            let [name, value] = pair else { return None };
            match name.as_str() {
                "--seconds" => settings.time = Duration::from_secs(value.parse().ok()?),
                "--seed" => settings.seed = value.parse().ok()?,
                "--service" => settings.service = Some(value.into()),
                _ => return None,
            }
        }
        Some(settings)
    }
}

/// The shared buffers, of all exporters. The first one is kept by nobody but the workers.
fn buffers() -> std::io::Result<Vec<OwnedFd>> {
    let memfd = memfd_create(c"soak", MemFdCreateFlag::MFD_CLOEXEC)?;
    nix::unistd::ftruncate(&memfd, SIZE as i64)?;
    let vgem = Vgem::open()?.allocate(SIZE)?.dmabuf;
    let heaps = [heap::allocate(SIZE)?, heap::allocate(SIZE)?, heap::allocate(SIZE)?];
    let udmabufs = [udmabuf::allocate(SIZE)?, udmabuf::allocate(SIZE)?];
    let dmabufs = heaps.into_iter().chain(udmabufs).chain([vgem]).collect::<Vec<_>>();
    let fds = dmabufs.iter().map(|one| one.as_fd().try_clone_to_owned());
    fds.chain([Ok(memfd)]).collect()
}

/// True if nothing was violated and nothing leaked.
pub fn run(settings: &Settings) -> Result<bool, Box<dyn Error>> {
    let (control, buffers) = (Control::new()?, buffers()?);
    let headers: std::io::Result<Vec<Header>> = buffers.iter().map(Header::map).collect();
    let headers = headers?;
    eprintln!("soak: {} s, seed {}", settings.time.as_secs(), settings.seed);
    let mut random = Random::new(settings.seed);
    let seeds = Random::new(random.number());
    // Odd, until the service is there.
    control.life().store(1, SeqCst);
    let mut service = Service::start(settings.service.as_deref(), &control, &buffers)?;
    let mut crew = Crew::new(&control, &headers, &buffers, seeds);
    let (mut restarts, mut leaked, begin) = (0, 0, Instant::now());
    let mut said = Duration::ZERO;
    while begin.elapsed() < settings.time {
        crew.fill_up()?;
        // What a short run has not met by chance comes at half-time.
        let late = restarts == 0 && begin.elapsed() > settings.time / 2;
        match if late { RESTART } else { random.below(1000) } {
            0..=299 => crew.kill_one()?,
            300..=599 => crew.stop_one(Duration::from_millis(random.between(10, 200))),
            600..=699 => crew.order_one(Order::ForkAndDie),
            700..=799 => crew.order_one(Order::LoseDescriptors),
            RESTART..=829 => {
                service.restart(&control, &buffers)?;
                crew.excuse_all();
                restarts += 1;
            }
            // A service that is killed takes with it what it has leaked.
            830..=849 => leaked += look_for_leaks(&mut crew, &mut service, &buffers, &headers)?,
            850..=879 if REGISTERS_AGAIN => {
                service.restart_hub()?;
                crew.excuse_all();
                restarts += 1;
            }
            _ => {}
        }
        // Now and then several things happen at once.
        if random.percent(85) {
            std::thread::sleep(Duration::from_millis(random.between(20, 500)));
        }
        if crew.look()? {
            eprintln!("{}", service.dump());
        }
        if let Some(complaint) = service.complaint() {
            control.violation(&complaint);
            break;
        }
        if begin.elapsed() >= said + Duration::from_secs(60) {
            said = begin.elapsed();
            eprintln!("soak: {} s: {}", said.as_secs(), counts(&control));
        }
    }
    leaked += look_for_leaks(&mut crew, &mut service, &buffers, &headers)?;
    if let Some(complaint) = service.complaint() {
        control.violation(&complaint);
    }
    eprintln!("soak: {}", counts(&control));
    let count = |count| control.count(count).load(SeqCst);
    let (locks, evictions, violations) =
        (count(Count::Locks), count(Count::Evictions), count(Count::Violations));
    let kills = crew.kills;
    println!(
        "soak: locks={locks} kills={kills} evictions={evictions} restarts={restarts} \
         violations={violations} leaked={leaked}"
    );
    let happened = [locks, kills, evictions, restarts].iter().all(|count| *count > 0);
    if !happened {
        eprintln!("soak: something did not happen at all");
    }
    Ok(happened && violations == 0 && leaked == 0)
}

/// Lets all workers go, and looks what is left of them.
fn look_for_leaks(
    crew: &mut Crew<'_>,
    service: &mut Service,
    buffers: &[OwnedFd],
    headers: &[Header],
) -> Result<u64, Box<dyn Error>> {
    crew.end()?;
    // A service that is not there has left nothing; that is complained of elsewhere.
    if service.complaint().is_some() {
        return Ok(0);
    }
    let (account, leaked) = service.leaked(buffers)?;
    // No group had the buffers, so they can begin again with their generations.
    headers.iter().for_each(|header| header.generation().store(0, SeqCst));
    if leaked > 0 {
        eprintln!("soak: LEAKED: {account}\n{}", service.dump());
    }
    Ok(leaked)
}

fn counts(control: &Control) -> String {
    let all =
        COUNTS.iter().map(|(count, name)| format!("{name} {}", control.count(*count).load(SeqCst)));
    all.collect::<Vec<_>>().join(", ")
}
