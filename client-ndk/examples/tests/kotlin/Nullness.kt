/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

import java.time.Duration
import vendor.buffersync.BufferSync
import vendor.buffersync.BufferSyncException
import vendor.buffersync.Event
import vendor.buffersync.Grant
import vendor.buffersync.LockInTheWay
import vendor.buffersync.SyncGroup

// Kotlin has to refuse each line that ends in WRONG, and no other: it knows what may be null.

fun results(group: SyncGroup, grant: Grant, error: BufferSyncException) {
    val limit: Duration = group.holdLimit
    val none: Event? = group.pollEvent()
    val event: Event = group.pollEvent() // WRONG
    val left: Duration = grant.timeLeft // WRONG
    val by: LockInTheWay = error.lockInTheWay // WRONG
    println("$limit $none $event $left $by")
}

fun arguments(sync: BufferSync, group: SyncGroup) {
    group.lock(null).close()
    group.tryLock(null).close() // WRONG
    sync.openGroup(null) // WRONG
}
