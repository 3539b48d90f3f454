/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.IntBuffer;
import java.time.Duration;
import vendor.buffersync.Access;
import vendor.buffersync.BufferSource;
import vendor.buffersync.BufferSync;
import vendor.buffersync.Grant;
import vendor.buffersync.MappedBuffer;
import vendor.buffersync.SyncGroup;

/**
 * A preview with a filter, in Java.
 *
 * <pre>Preview INPUT_FD OUTPUT_FD</pre>
 *
 * <p>For each number on standard input it holds both buffers at once, prints the number, and writes the
 * negative of that frame from one buffer into the other.
 */
final class Preview {
    private Preview() {}

    public static void main(String[] args) throws IOException {
        BufferSource input = BufferSource.ofFd(Integer.parseInt(args[0]));
        BufferSource output = BufferSource.ofFd(Integer.parseInt(args[1]));
        BufferSync sync = BufferSync.connect();
        try (SyncGroup group = sync.openGroup("example/preview")) {
            MappedBuffer from = group.map(input, Access.READ);
            MappedBuffer to = group.map(output, Access.WRITE);
            BufferedReader numbers = new BufferedReader(new InputStreamReader(System.in));
            for (String line; (line = numbers.readLine()) != null; ) {
                try (Grant grant = group.lock(Duration.ofSeconds(5))) {
                    // Before the frame is written, so a reader that comes too early is noticed.
                    System.out.println(line);
                    System.out.flush();
                    filter(Integer.parseInt(line), from, to, grant);
                }
            }
        }
    }

    private static void filter(int number, MappedBuffer from, MappedBuffer to, Grant grant)
            throws IOException {
        IntBuffer input = from.bytes(grant).asIntBuffer();
        IntBuffer output = to.bytes(grant).asIntBuffer();
        for (int at = 0; at < input.limit(); at++) {
            if (input.get(at) != number * 0x9e3779b1 + at) {
                throw new IOException("frame " + number + " is torn at word " + at);
            }
            output.put(at, ~input.get(at));
        }
    }
}
