/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.nio.channels.AsynchronousCloseException;
import java.nio.channels.spi.AbstractInterruptibleChannel;

/**
 * One wait of one thread in the native library. {@link Thread#interrupt} ends it.
 *
 * <p>A thread can't ask the JVM to be told of an interruption, but a channel is: the interrupting
 * thread closes the channel on which the other one is blocked. So each wait is a channel.
 */
abstract class Wait extends AbstractInterruptibleChannel {
    /** Waits. Returns or throws soon after {@link #wake}, or at once if that came before. */
    abstract void block() throws BufferSyncException;

    /** Ends {@link #block}. Another thread calls this, so it waits for no lock and no service. */
    abstract void wake();

    @Override
    protected final void implCloseChannel() {
        wake();
    }

    /**
     * Waits. If the wait is over and the thread is interrupted at the same time, this returns, and the
     * thread is still interrupted.
     *
     * @throws InterruptedException if the wait is not over; whoever waits must give up what it wanted
     */
    final void run() throws BufferSyncException, InterruptedException {
        boolean over = false;
        try {
            try {
                begin();
                block();
                over = true;
            } finally {
                end(over);
            }
        } catch (AsynchronousCloseException interrupted) {
            if (!over) {
                // Clears the thread's mark, as every method that throws this exception does.
                Thread.interrupted();
                throw new InterruptedException();
            }
        }
    }
}
