/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

import java.time.Duration
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.runInterruptible
import kotlinx.coroutines.withTimeoutOrNull
import kotlinx.coroutines.yield
import vendor.buffersync.Access
import vendor.buffersync.BufferSource
import vendor.buffersync.BufferSync
import vendor.buffersync.BufferSyncException
import vendor.buffersync.ErrorCode
import vendor.buffersync.Event
import vendor.buffersync.Grant
import vendor.buffersync.GroupOptions
import vendor.buffersync.PendingLock
import vendor.buffersync.ReleaseFences
import vendor.buffersync.SyncGroup
import vendor.buffersync.Want

/**
 * A viewfinder that shows one buffer while a still picture is made in another, in Kotlin.
 *
 * `ViewfinderKt PREVIEW_FD STILL_FD`
 */
fun main(args: Array<String>) = runBlocking {
    val (preview, still) = args.map { BufferSource.ofRawFd(it.toInt()) }
    val sync = BufferSync.connect()
    severalLocks(sync, preview, still)
    cancellation(sync, preview)
    eventLoop(sync, preview)
    eviction(sync, preview)
}

/** A wait that takes too long here has failed. */
private val PATIENCE: Duration = Duration.ofSeconds(60)

/** A group whose grants outlast this program, as far as the service allows. */
private fun BufferSync.openPatient(name: String, buffer: BufferSource, access: Access): SyncGroup {
    val options = GroupOptions.DEFAULT.withHoldLimit(capabilities.maxHold)
    return openGroup(name, options).apply { add(buffer, access) }
}

/**
 * Locks all buffers of the group, and works with the grant. If the coroutine is cancelled while it waits, the lock ends.
 *
 * The work is inside of `runInterruptible`: a coroutine that is cancelled later would lose a grant that this function
 * returned.
 */
suspend fun <T> SyncGroup.lockInterruptibly(timeout: Duration?, work: (Grant) -> T): T =
    runInterruptible(Dispatchers.IO) { lock(timeout).use(work) }

/** Does some work, and does it again if the grant was taken away before the work was done. */
suspend fun SyncGroup.untilDone(work: (Grant) -> Unit) {
    while (true) {
        try {
            return lockInterruptibly(PATIENCE, work)
        } catch (e: BufferSyncException) {
            if (e.code != ErrorCode.EVICTED) throw e
        }
    }
}

/** Waits for a lock without a thread of its own: for programs whose loop reads the group's events. */
suspend fun SyncGroup.awaitGrant(pending: PendingLock): Grant {
    while (!pending.isGranted) {
        // A real loop waits for the event descriptor here.
        yield()
    }
    return pending.await()
}

/** Two locks of one group at once, and one that loses a part. */
private fun severalLocks(sync: BufferSync, preview: BufferSource, still: BufferSource) {
    sync.openGroup("example/viewfinder").use { group ->
        val frame = group.map(preview, Access.WRITE).single()
        val picture = group.map(still, Access.WRITE).single()
        val wantsFrame = listOf(Want(frame.id, Access.WRITE))
        val wantsPicture = listOf(Want(picture.id, Access.WRITE))
        val showing = group.lock(wantsFrame, PATIENCE)
        val making = group.tryLock(wantsPicture)
        check(group.locks().map { it.lock } == listOf(showing.lock, making.lock))
        frame.writableBytes(showing).put(0, 1)
        picture.writableBytes(making).put(0, 2)
        showing.close()
        making.grow(wantsFrame, PATIENCE)
        check(making.buffers.map { it.id } == listOf(picture.id, frame.id))

        // The picture is ready, and the frame is not.
        making.unlockBuffers(listOf(picture.id), ReleaseFences.NONE)
        check(making.getBuffer(picture.id) == null)
        check(frame.bytes(making)[0] == 1.toByte())
        making.unlockAndLock(ReleaseFences.NONE, wantsPicture, PATIENCE).use { again ->
            check(picture.bytes(again)[0] == 2.toByte())
        }
    }
}

/** A coroutine that is cancelled gives up its lock, and the next one is granted. */
private suspend fun cancellation(sync: BufferSync, buffer: BufferSource) = runBlocking {
    val holder = sync.openPatient("example/holder", buffer, Access.WRITE)
    val waiter = sync.openPatient("example/waiter", buffer, Access.READ)
    holder.use {
        waiter.use {
            val held = holder.lock(PATIENCE)
            val waits = launch { waiter.lockInterruptibly(null) { error("granted to two") } }
            while (waiter.locks().isEmpty()) {
                delay(1)
            }
            waits.cancel()
            waits.join()
            check(waiter.locks().isEmpty()) { "the lock still waits" }

            val late = withTimeoutOrNull(20) { waiter.lockInterruptibly(null) { it.lock } }
            check(late == null && waiter.locks().isEmpty())
            held.close()
            check(waiter.lockInterruptibly(PATIENCE) { it.buffers.size } == 1)
        }
    }
}

/** A lock that is started, and events that tell how it goes on. */
private suspend fun eventLoop(sync: BufferSync, buffer: BufferSource) {
    val holder = sync.openPatient("example/holder", buffer, Access.WRITE)
    val waiter = sync.openPatient("example/waiter", buffer, Access.READ)
    holder.use {
        waiter.use {
            val held = holder.lock(PATIENCE)
            waiter.startLock(PATIENCE).use { pending ->
                val event: Event? = holder.pollEvent()
                check(event?.type == Event.Type.CONTENDED && event.lock == held.lock) { "$event" }
                check(!pending.isGranted)
                held.close()
                waiter.awaitGrant(pending).use { check(it.lock == pending.lock) }
            }
            // Nobody holds the buffer, so this is granted at once, and nobody wants it.
            waiter.startLock(null).close()
            check(waiter.locks().isEmpty())
        }
    }
}

/** A holder that is too slow loses its grant, and learns who was waiting. */
private suspend fun eviction(sync: BufferSync, buffer: BufferSource) = runBlocking {
    val brief = GroupOptions.DEFAULT.withHoldLimit(Duration.ofMillis(200))
    val slow = sync.openGroup("example/slow", brief).apply { add(buffer, Access.WRITE) }
    val next = sync.openPatient("example/next", buffer, Access.WRITE)
    slow.use {
        next.use {
            val grant = slow.lock(PATIENCE)
            next.lockInterruptibly(PATIENCE) { check(it.buffers.single().isTorn) }
            try {
                grant.close()
                error("not evicted")
            } catch (e: BufferSyncException) {
                check(e.code == ErrorCode.EVICTED)
                check(e.lockInTheWay?.owner == "example/next") { "$e" }
            }
            // What was done is lost: do it again.
            slow.untilDone { check(it.buffers.size == 1) }
        }
    }
}
