// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Attacks on the service, and what goes wrong around it. A victim of another uid is served meanwhile, or afterwards.
//!
//! Three programs have a part of the tests each, so that the testbed's lanes share them: `guest_hostile_clients`,
//! `guest_hostile_loads`, `guest_surroundings`. A new attack is a function here that a part lists, and the verbs of its
//! actors.
//!
//! | module | what happens |
//! |---|---|
//! | [`manager`] | the service manager comes late, or restarts |
//! | [`restart`] | the service restarts while clients work; a second one is started |
//! | [`fork`] | a holder dies, and its forked child lives on |
//! | [`dump`] | clients ask for dumps of others, and don't take their own |
//! | [`fuse`] | descriptors of a file system that does not answer |
//! | [`budget`] | many uids take all they can get |
//! | [`reservation`] | a client keeps the lock of a dma-buf busy |
//! | [`stopped`] | a client is stopped, and granted |
//! | [`channel`] | what a client can do to its end of an event channel |
//! | [`flood`] | more calls than can be served, wrong ones, big ones |
//! | [`log`] | clients cause lines of a log that nobody reads |
//!
//! | module | what they are written with |
//! |---|---|
//! | [`alone`] | runs each test in a process of its own |
//! | [`actor`] | attackers and victims: processes of other uids |
//! | [`scene`] | the stack of a test, and its victim |
//!
//! No test relies on speed. An attack is over when the test ends it, so "the victim was served" and then "the
//! attacker is still at it" is an order of events. A victim that is not served within [`buffersync_vts::hal::long`]
//! counts as not served at all.

mod actor;
mod alone;
mod budget;
mod channel;
mod dump;
mod flood;
mod fork;
mod fuse;
mod log;
mod manager;
mod reservation;
mod restart;
mod scene;
mod stopped;

use std::process::ExitCode;

use actor::Verb;
use alone::Test;

/// Lists functions by their module and name.
macro_rules! named {
    ($($module:ident::$function:ident),* $(,)?) => {
        &[$((concat!(stringify!($module), "::", stringify!($function)), $module::$function)),*]
    };
}

/// Clients that do what no client should.
const CLIENTS: &[Test] = named![
    fork::a_forked_child_keeps_nothing_of_a_dead_holder,
    dump::a_client_sees_its_own_and_nothing_else,
    dump::a_dump_that_nobody_takes_costs_nobody,
    fuse::a_file_system_that_does_not_answer_stops_nobody,
    reservation::a_busy_reservation_lock_delays_its_own_buffer_only,
    stopped::a_grant_that_a_stopped_client_has_not_read_ends_early,
    channel::nothing_that_a_client_does_to_its_channel_stops_the_service,
];

/// Clients that do too much of it.
const LOADS: &[Test] = named![
    budget::nine_uids_leave_something_for_a_tenth,
    budget::sixty_four_uids_leave_something_for_another,
    budget::the_memory_of_buffers_that_only_the_service_has_is_bounded,
    budget::the_memory_of_events_that_nobody_reads_is_bounded,
    flood::calls_without_reply_stop_nobody,
    flood::big_calls_without_reply_stop_nobody,
    flood::big_calls_stop_nobody,
    flood::calls_that_nobody_understands_stop_nobody,
    flood::descriptors_that_nobody_reads_stop_nobody,
];

/// Tests of the service's surroundings, and of its own end.
const SURROUNDINGS: &[Test] = named![
    manager::the_service_may_start_before_the_service_manager,
    manager::it_registers_again_when_the_service_manager_has_restarted,
    restart::a_buffer_whose_holder_outlives_the_service_is_marked,
    restart::the_marks_of_a_restart_end_with_the_longest_hold,
    restart::names_of_before_do_not_come_again,
    restart::a_second_service_ends_and_the_first_goes_on,
    restart::of_two_services_that_start_at_once_one_serves,
    restart::of_two_services_that_wait_for_the_manager_one_serves,
    log::a_log_that_nobody_reads_stops_nobody,
    log::a_log_whose_reader_is_gone_stops_nobody,
];

/// The tests of each program.
const PARTS: [(&str, &[Test]); 3] = [
    ("guest_hostile_clients", CLIENTS),
    ("guest_hostile_loads", LOADS),
    ("guest_surroundings", SURROUNDINGS),
];

/// Runs a program.
pub fn run(program: &str) -> ExitCode {
    let (_, tests) = PARTS.iter().find(|(name, _)| *name == program).expect("a part");
    alone::run(tests, VERBS)
}

/// The roles of actors.
const VERBS: &[Verb] = named![
    scene::victim,
    scene::dumper,
    manager::keeper,
    manager::contender,
    restart::holder,
    fork::forker,
    dump::owner,
    dump::taker,
    fuse::daemon,
    fuse::attacker,
    fuse::asker,
    budget::hog,
    budget::newcomer,
    budget::keeper,
    budget::mute,
    log::flooder,
    reservation::attacker,
    reservation::victim,
    stopped::waiter,
    channel::attacker,
    flood::flooder,
];
