/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * The request loop of a camera HAL, with three requests in flight over twelve buffers.
 *
 *   camera_hal HOLD_MILLIS
 *
 * A request has a buffer of each of two streams, preview and video. The HAL locks both for DMA at once, one lock for
 * each request, and gives them to the sensor, a thread that stands for a device. It returns each stream's buffer by
 * itself, as process_capture_result() does:
 * - the preview buffer at once, with the fence of the sensor: the display waits for it itself;
 * - the video buffer when the sensor has written it, without a fence.
 *
 * A consumer, in another process, gets the number of each request, asks for its buffers, and checks the frame. The HAL
 * uses a buffer again as soon as the consumer has asked for it: its lock waits until the consumer has read it.
 *
 * What goes wrong:
 * - The sensor takes too long (request 10, if there is a hold limit), and the HAL is evicted. The request is reported
 *   as an error, and the next one goes on. The consumer is told by the state of the buffer that it may be torn.
 * - The service dies. All requests in flight are errors. Both processes open their groups again.
 *
 * The HAL prints the number of each request that is done, or 0 if it is an error. It stops at the end of standard input, and prints how many
 * requests were delivered, evicted and lost.
 */

#include <android/buffer_sync.hpp>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "fenced_buffer.h"
#include "frame.h"

namespace {

namespace bs = android::buffersync;

constexpr size_t kStreams = 2;
enum Stream : size_t { kPreview, kVideo };
constexpr size_t kBuffersOfStream = 6;
constexpr size_t kInFlight = 3;
constexpr uint32_t kSlowRequest = 10;
constexpr size_t kWords = FENCED_BUFFER_BYTES / sizeof(uint32_t);
constexpr std::chrono::seconds kPatience(60);

/* Allocated and mapped before the fork, so both processes have it. */
struct Frame {
    fenced_buffer buffer;
    uint32_t* pixels;
};

using Frames = std::array<std::array<Frame, kBuffersOfStream>, kStreams>;
using Ids = std::array<std::array<bs::BufferId, kBuffersOfStream>, kStreams>;

size_t indexOf(uint32_t number) {
    return number % kBuffersOfStream;
}

Frames allocate() {
    Frames frames;
    for (auto& stream : frames) {
        for (Frame& frame : stream) {
            frame.buffer = allocate_buffer();
            void* start = mmap(nullptr, FENCED_BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, frame.buffer.fd, 0);
            must(start != MAP_FAILED, "mmap");
            frame.pixels = static_cast<uint32_t*>(start);
        }
    }
    return frames;
}

void release(Frames& frames) {
    for (auto& stream : frames) {
        for (Frame& frame : stream) {
            munmap(frame.pixels, FENCED_BUFFER_BYTES);
            free_buffer(&frame.buffer);
        }
    }
}

/* An error that this program can't handle. */
[[noreturn]] void die(const char* who, const bs::Status& status) {
    std::fprintf(stderr, "camera_hal: %s: %s\n", who, status.message().c_str());
    std::exit(1);
}

bool isGone(const bs::Status& status) {
    return status == ABUFFERSYNC_ERROR_SERVICE_DIED || status == ABUFFERSYNC_ERROR_NO_SERVICE;
}

/* A group with all frames. Opens it again while the service is gone. */
class Client {
  public:
    Client(const char* name, Frames& frames, bs::Access access, std::chrono::milliseconds hold)
        : name_(name), frames_(frames), access_(access), hold_(hold) {
        auto connection = bs::Connection::waitForService();
        if (!connection) {
            die(name, connection.status());
        }
        connection_ = *std::move(connection);
        open();
    }

    bs::Group& group() { return group_; }
    const char* name() const { return name_; }

    /* The buffers of a request, for a lock. */
    std::array<bs::Want, kStreams> wants(uint32_t number) const {
        size_t index = indexOf(number);
        return {bs::Want(ids_[kPreview][index], access_), bs::Want(ids_[kVideo][index], access_)};
    }

    bs::BufferId id(Stream stream, uint32_t number) const { return ids_[stream][indexOf(number)]; }

    void open() {
        bs::Status status = tryOpen();
        while (isGone(status)) {
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
            status = tryOpen();
        }
        if (!status) {
            die(name_, status);
        }
    }

  private:
    bs::Status tryOpen() {
        auto group = connection_.openGroup(name_, {hold_, ABUFFERSYNC_GROUP_DEFAULT});
        if (!group) {
            return group.status();
        }
        for (size_t stream = 0; stream < kStreams; stream++) {
            for (size_t index = 0; index < kBuffersOfStream; index++) {
                auto id = group->addDmaBuf(frames_[stream][index].buffer.fd, access_);
                if (!id) {
                    return id.status();
                }
                ids_[stream][index] = *id;
            }
        }
        group_ = *std::move(group);
        return {};
    }

    const char* const name_;
    Frames& frames_;
    const bs::Access access_;
    const std::chrono::milliseconds hold_;
    bs::Connection connection_;
    bs::Group group_;
    Ids ids_{};
};

/* What the HAL tells the consumer about a request. */
struct Result {
    uint32_t number;
    /* Its buffers can be looked at. False if the service died, and nobody has kept the locks. */
    bool ok;
};

struct Pipe {
    int read, write;
};

Pipe makePipe() {
    int ends[2];
    must(pipe2(ends, O_CLOEXEC) == 0, "pipe2");
    return {ends[0], ends[1]};
}

/* The other process has ended if it can't be told. */
template <typename T>
bool tell(int fd, const T& value) {
    return write(fd, &value, sizeof(value)) == sizeof(value);
}

template <typename T>
bool hear(int fd, T* value) {
    return read(fd, value, sizeof(*value)) == sizeof(*value);
}

/* --- the consumer --- */

bool isWhole(const uint32_t* pixels, uint32_t number) {
    for (size_t at = 0; at < kWords; at++) {
        if (pixels[at] != frame_word(number, at)) {
            return false;
        }
    }
    return true;
}

/* Reads both buffers of a request. False if nobody may use their content. */
bs::Result<bool> consume(const bs::Grant& grant, const Client& client, const Frames& frames, uint32_t number) {
    for (Stream stream : {kPreview, kVideo}) {
        auto state = grant.bufferState(client.id(stream, number));
        if (!state) {
            return state.status();
        }
        if ((state->flags & (ABUFFERSYNC_BUFFER_EVICTED | ABUFFERSYNC_BUFFER_TORN)) != 0) {
            return false;
        }
        if (!isWhole(frames[stream][indexOf(number)].pixels, number)) {
            std::fprintf(stderr, "camera_hal: stream %zu of request %u is torn\n", stream, number);
            std::exit(1);
        }
    }
    return true;
}

int runConsumer(Frames& frames, int results, int asked) {
    Client client("example/consumer", frames, bs::Access::Read, std::chrono::milliseconds(0));
    for (Result result; hear(results, &result);) {
        bs::Status status;
        if (result.ok) {
            auto wants = client.wants(result.number);
            auto started = client.group().startLock({wants.data(), wants.size()}, kPatience);
            status = started.status();
            /* The consumer has its place in line. */
            if (!tell(asked, result.number)) {
                break;
            }
            if (started) {
                status = started->lock.wait();
            }
            if (status) {
                status = consume(started->lock, client, frames, result.number).status();
            }
            if (status) {
                status = started->lock.unlock();
            }
        } else if (!tell(asked, result.number)) {
            break;
        }
        if (isGone(status)) {
            client.open();
        } else if (!status && status != ABUFFERSYNC_ERROR_EVICTED) {
            die(client.name(), status);
        }
    }
    return 0;
}

/* --- the sensor --- */

struct Request {
    uint32_t number;
    /* The lock of both buffers. */
    bs::Grant grant;
    /* Signals when the sensor has written the preview buffer. */
    bs::UniqueFd preview_fence;
    bool is_written = false;
};

/* Writes the buffers of one request after the other, like a device. */
class Sensor {
  public:
    Sensor(Frames& frames, std::chrono::milliseconds hold) : frames_(frames), hold_(hold), thread_([this] { run(); }) {}

    ~Sensor() {
        add(nullptr);
        thread_.join();
    }

    void add(std::shared_ptr<Request> request) {
        std::lock_guard<std::mutex> lock(mutex_);
        queue_.push_back(std::move(request));
        changed_.notify_all();
    }

    void waitFor(const Request& request) {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [&] { return request.is_written; });
    }

  private:
    void run() {
        for (;;) {
            std::shared_ptr<Request> request;
            {
                std::unique_lock<std::mutex> lock(mutex_);
                changed_.wait(lock, [this] { return !queue_.empty(); });
                request = std::move(queue_.front());
                queue_.pop_front();
            }
            if (request == nullptr) {
                return;
            }
            expose(*request);
            std::lock_guard<std::mutex> lock(mutex_);
            request->is_written = true;
            changed_.notify_all();
        }
    }

    void expose(const Request& request) {
        if (request.number == kSlowRequest) {
            std::this_thread::sleep_for(2 * hold_);
        }
        for (Stream stream : {kPreview, kVideo}) {
            Frame& frame = frames_[stream][indexOf(request.number)];
            for (size_t at = 0; at < kWords; at++) {
                frame.pixels[at] = frame_word(request.number, at);
            }
            if (stream == kPreview) {
                finish_work(&frame.buffer);
            }
        }
    }

    Frames& frames_;
    const std::chrono::milliseconds hold_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::shared_ptr<Request>> queue_;
    std::thread thread_;
};

/* --- the HAL --- */

class Hal {
  public:
    Hal(Frames& frames, std::chrono::milliseconds hold, int results, int asked)
        : frames_(frames), client_("example/camera_hal", frames, bs::Access::DmaWrite, hold), sensor_(frames, hold),
          results_(results), asked_(asked) {}

    int run() {
        for (uint32_t number = 1; !isAskedToStop(); number++) {
            /* The consumer has asked for what was in these buffers before. */
            if (number > kBuffersOfStream && !waitUntilAsked(number - kBuffersOfStream)) {
                return 1;
            }
            submit(number);
            if (in_flight_.size() == kInFlight) {
                complete();
            }
        }
        while (!in_flight_.empty()) {
            complete();
        }
        std::printf("delivered %u evicted %u lost %u\n", delivered_, evicted_, lost_);
        std::fflush(stdout);
        return 0;
    }

  private:
    static bool isAskedToStop() {
        pollfd input = {STDIN_FILENO, POLLIN, 0};
        return poll(&input, 1, 0) != 0;
    }

    /* Locks the buffers of a request and gives them to the sensor. */
    void submit(uint32_t number) {
        auto request = std::make_shared<Request>();
        request->number = number;
        auto wants = client_.wants(number);
        auto grant = client_.group().lock({wants.data(), wants.size()}, kPatience);
        while (!grant && isGone(grant.status())) {
            recover();
            wants = client_.wants(number);
            grant = client_.group().lock({wants.data(), wants.size()}, kPatience);
        }
        if (!grant) {
            die(client_.name(), grant.status());
        }
        request->grant = *std::move(grant);
        request->preview_fence = bs::UniqueFd(start_work(&frames_[kPreview][indexOf(number)].buffer));
        sensor_.add(request);
        in_flight_.push_back(std::move(request));
    }

    /* Returns the buffers of the oldest request, each by itself. */
    void complete() {
        std::shared_ptr<Request> request = in_flight_.front();
        in_flight_.pop_front();
        bs::Grant& grant = request->grant;
        uint32_t number = request->number;
        /* Its work may not be finished yet: whoever is next gets the fence, or waits for it. */
        bs::Status preview =
                grant.unlockBuffers({client_.id(kPreview, number)}, std::move(request->preview_fence));
        sensor_.waitFor(*request);
        bs::Status video = grant.unlockBuffers({client_.id(kVideo, number)});
        if (preview && video) {
            /* Nothing is left of the lock. */
            bs::Status left = grant.info().status();
            if (left != ABUFFERSYNC_ERROR_ENDED && !isGone(left)) {
                die(client_.name(), bs::Status::error(ABUFFERSYNC_ERROR_INTERNAL, "the lock has not ended"));
            }
            delivered_++;
            report(number, {number, true});
        } else if (preview == ABUFFERSYNC_ERROR_EVICTED || video == ABUFFERSYNC_ERROR_EVICTED) {
            /* The framework gets both buffers with an error. The consumer looks at them all the same. */
            (void)grant.unlock();
            evicted_++;
            report(0, {number, true});
        } else if (isGone(preview) || isGone(video)) {
            lost_++;
            report(0, {number, false});
            recover();
        } else {
            die(client_.name(), preview ? video : preview);
        }
    }

    /* The service has died, and all locks with it: the requests in flight are errors. */
    void recover() {
        while (!in_flight_.empty()) {
            /* The sensor must not write into a buffer that another request has. */
            sensor_.waitFor(*in_flight_.front());
            (void)in_flight_.front()->grant.release();
            lost_++;
            report(0, {in_flight_.front()->number, false});
            in_flight_.pop_front();
        }
        client_.open();
    }

    void report(uint32_t printed, const Result& result) {
        std::printf("%u\n", printed);
        std::fflush(stdout);
        must(tell(results_, result), "the consumer has ended");
    }

    bool waitUntilAsked(uint32_t number) {
        for (uint32_t asked = 0; asked_until_ <= number; asked_until_ = asked + 1) {
            if (!hear(asked_, &asked)) {
                std::fprintf(stderr, "camera_hal: the consumer has ended\n");
                return false;
            }
        }
        return true;
    }

    Frames& frames_;
    Client client_;
    Sensor sensor_;
    const int results_, asked_;
    std::deque<std::shared_ptr<Request>> in_flight_;
    uint32_t asked_until_ = 0, delivered_ = 0, evicted_ = 0, lost_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "camera_hal HOLD_MILLIS\n");
        return 2;
    }
    Frames frames = allocate();
    Pipe results = makePipe(), asked = makePipe();
    /* Before this process connects: a forked child can't use its parent's connection. */
    pid_t consumer = fork();
    must(consumer >= 0, "fork");
    if (consumer == 0) {
        close(results.write);
        close(asked.read);
        int status = runConsumer(frames, results.read, asked.write);
        release(frames);
        return status;
    }
    close(results.read);
    close(asked.write);
    int status;
    {
        Hal hal(frames, std::chrono::milliseconds(std::atoi(argv[1])), results.write, asked.read);
        status = hal.run();
    }
    close(results.write);
    int ended = -1;
    must(waitpid(consumer, &ended, 0) == consumer, "waitpid");
    release(frames);
    return status != 0 || ended != 0 ? 1 : 0;
}
