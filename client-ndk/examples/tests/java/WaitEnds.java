/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

/**
 * Waits that end at the same time as their thread is interrupted. Only a class of the package can make
 * that happen each time.
 */
public final class WaitEnds {
    private WaitEnds() {}

    /** A wait during which the thread is interrupted, before it ends with or without an error. */
    private static final class Interrupted extends Wait {
        private final boolean fails;
        private int woken;

        Interrupted(boolean fails) {
            this.fails = fails;
        }

        @Override
        void block() throws BufferSyncException {
            Thread waiting = Thread.currentThread();
            Thread other = new Thread(waiting::interrupt);
            other.start();
            // A join would end by the interruption.
            while (other.isAlive()) {
                Thread.onSpinWait();
            }
            if (fails) {
                throw new BufferSyncException(ErrorCode.CANCELLED, "woken");
            }
        }

        @Override
        void wake() {
            woken++;
        }
    }

    /**
     * What a wait got is not lost, and neither is the interruption.
     *
     * @throws Exception if it is
     */
    public static void check() throws Exception {
        Interrupted over = new Interrupted(false);
        over.run();
        if (!Thread.interrupted() || over.woken != 1) {
            throw new AssertionError("the interruption is lost");
        }
        Interrupted woken = new Interrupted(true);
        try {
            woken.run();
        } catch (InterruptedException expected) {
            if (Thread.currentThread().isInterrupted() || woken.woken != 1) {
                throw new AssertionError("the thread is still marked", expected);
            }
            return;
        }
        throw new AssertionError("the interruption is lost");
    }
}
