/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.IntBuffer;
import java.time.Duration;
import java.util.List;
import vendor.buffersync.Access;
import vendor.buffersync.BufferSource;
import vendor.buffersync.BufferSync;
import vendor.buffersync.Grant;
import vendor.buffersync.MappedBuffer;
import vendor.buffersync.ReleaseFences;
import vendor.buffersync.SyncGroup;

/**
 * A preview with a filter, in Java.
 *
 * <pre>Preview INPUT_FD OUTPUT_FD</pre>
 *
 * <p>For each number on standard input it holds both buffers at once, prints the number, and writes the
 * negative of that frame from one buffer into the other. The camera gets its buffer back early: when the
 * frame is read, and not when the result is done.
 */
final class Preview {
    private Preview() {}

    public static void main(String[] args) throws IOException, InterruptedException {
        BufferSource input = BufferSource.ofRawFd(Integer.parseInt(args[0]));
        BufferSource output = BufferSource.ofRawFd(Integer.parseInt(args[1]));
        BufferSync sync = BufferSync.connect();
        try (SyncGroup group = sync.openGroup("example/preview")) {
            MappedBuffer from = group.map(input, Access.READ).get(0);
            MappedBuffer to = group.map(output, Access.WRITE).get(0);
            int[] frame = new int[from.getSize() / Integer.BYTES];
            BufferedReader numbers = new BufferedReader(new InputStreamReader(System.in));
            for (String line; (line = numbers.readLine()) != null; ) {
                try (Grant grant = group.lock(Duration.ofSeconds(5))) {
                    // Before the frame is written, so a reader that comes too early is noticed.
                    System.out.println(line);
                    System.out.flush();
                    from.bytes(grant).asIntBuffer().get(frame);
                    grant.unlockBuffers(List.of(from.getId()), ReleaseFences.NONE);
                    filter(Integer.parseInt(line), frame, to.writableBytes(grant).asIntBuffer());
                }
            }
        }
    }

    private static void filter(int number, int[] frame, IntBuffer output) throws IOException {
        for (int at = 0; at < frame.length; at++) {
            if (frame[at] != number * 0x9e3779b1 + at) {
                throw new IOException("frame " + number + " is torn at word " + at);
            }
            output.put(at, ~frame[at]);
        }
    }
}
