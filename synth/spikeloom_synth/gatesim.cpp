// Zero-delay simulation of a mapped netlist: plays stimulus items, writes what came out and how often each net changed.
// gatesim.py writes the netlist as a table of gates in evaluation order; no compilation per design.
// Arguments: netlist table, items (stream number and hex word, one a line), result file, number of leading items that
// are not measured, inferences that end the run, longest silence in cycles.
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

struct Gate {
    uint32_t table, output, first, count;  // inputs are pins[first .. first + count)
};
struct Flop {
    uint32_t state, next;
    int32_t clear, preset;  // nets, or -1
};
struct Memory {
    uint32_t width = 0, depth = 0;
    uint32_t read_enable = 0;
    int32_t write_enable = -1;
    std::vector<uint32_t> read_address, read_data, write_address, write_data, write_mask;  // no mask: whole rows
    std::vector<std::vector<uint8_t>> rows;
    std::vector<uint8_t> read_next;
    bool reading = false, writing = false;
    size_t write_row = 0;
};

struct Stream {
    uint32_t valid, ready;
    std::vector<uint32_t> payload;
};

// Recorded answers on input pins: in each cycle in which one of `when` is 1, the next word, from the clock edge on.
struct Answer {
    std::vector<uint32_t> when, pins;
    std::vector<std::vector<uint8_t>> words;
    size_t next = 0;
};

static std::vector<uint8_t> net;  // nets 0 and 1 are the constants
static std::vector<std::vector<uint8_t>> tables;
static std::vector<Gate> gates;
static std::vector<uint32_t> pins;
static std::vector<Flop> flops;
static std::vector<Memory> memories;

static void settle() {
    for (;;) {
        for (const Gate& gate : gates) {
            uint32_t index = 0;
            for (uint32_t pin = 0; pin < gate.count; ++pin) index |= uint32_t(net[pins[gate.first + pin]]) << pin;
            net[gate.output] = tables[gate.table][index];
        }
        bool again = false;
        for (const Flop& flop : flops) {  // asynchronous pins act at once
            uint8_t now = net[flop.state];
            if (flop.preset >= 0 && net[flop.preset]) now = 1;
            if (flop.clear >= 0 && net[flop.clear]) now = 0;
            again |= now != net[flop.state];
            net[flop.state] = now;
        }
        if (!again) return;
    }
}

static size_t number(const std::vector<uint32_t>& bits) {
    size_t value = 0;
    for (size_t bit = 0; bit < bits.size(); ++bit) value |= size_t(net[bits[bit]]) << bit;
    return value;
}

static void edge() {
    for (Memory& memory : memories) {
        memory.reading = net[memory.read_enable];
        if (memory.reading) {
            const size_t row = number(memory.read_address);
            memory.read_next = row < memory.depth ? memory.rows[row] : std::vector<uint8_t>(memory.width, 0);
        }
        memory.writing = memory.write_enable >= 0 && net[memory.write_enable];
        if (memory.writing) {  // after the read: a read during a write gets the old row
            const size_t row = number(memory.write_address);
            if (row < memory.depth)
                for (size_t bit = 0; bit < memory.width; ++bit)
                    if (memory.write_mask.empty() || net[memory.write_mask[bit]])
                        memory.rows[row][bit] = net[memory.write_data[bit]];
        }
    }
    static std::vector<uint8_t> next;
    next.resize(flops.size());
    for (size_t index = 0; index < flops.size(); ++index) next[index] = net[flops[index].next];
    for (size_t index = 0; index < flops.size(); ++index) {
        const Flop& flop = flops[index];
        if (flop.clear >= 0 && net[flop.clear]) continue;
        if (flop.preset >= 0 && net[flop.preset]) continue;
        net[flop.state] = next[index];
    }
    for (Memory& memory : memories)
        if (memory.reading)
            for (size_t bit = 0; bit < memory.width; ++bit)
                if (memory.read_data[bit] > 1) net[memory.read_data[bit]] = memory.read_next[bit];
}

template <typename T> static T get(std::istream& input) {
    T value;
    if (!(input >> value)) {
        std::cerr << "error: the netlist table ends too early\n";
        std::exit(65);
    }
    return value;
}
static std::vector<uint32_t> list(std::istream& input) {
    std::vector<uint32_t> values(get<size_t>(input));
    for (uint32_t& value : values) value = get<uint32_t>(input);
    return values;
}
// A hexadecimal word as bits, least significant first.
static std::vector<uint8_t> word(const std::string& text, size_t bits) {
    std::vector<uint8_t> value(bits, 0);
    size_t position = 0;
    for (size_t digit = text.size(); digit-- > 0;) {
        const char c = text[digit];
        const int nibble = c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
        for (int bit = 0; bit < 4 && position < bits; ++bit) value[position++] = nibble >> bit & 1;
    }
    return value;
}

int main(int argc, char** argv) {
    if (argc != 7) return 64;
    std::ifstream input(argv[1]), stimulus(argv[2]);
    std::FILE* result = std::fopen(argv[3], "w");
    if (!input || !stimulus || !result) return 66;
    const size_t warmup = std::strtoull(argv[4], nullptr, 10);
    const uint64_t wanted = std::strtoull(argv[5], nullptr, 10), patience = std::strtoull(argv[6], nullptr, 10);

    net.assign(get<size_t>(input), 0);
    net[1] = 1;
    const size_t watched = get<size_t>(input);  // nets 2 .. watched are those of the netlist
    tables.resize(get<size_t>(input));
    for (auto& table : tables) {
        for (char c : get<std::string>(input)) table.push_back(c == '1');
    }
    gates.resize(get<size_t>(input));
    for (Gate& gate : gates) {
        gate.table = get<uint32_t>(input);
        gate.output = get<uint32_t>(input);
        const auto inputs = list(input);
        gate.first = pins.size();
        gate.count = inputs.size();
        pins.insert(pins.end(), inputs.begin(), inputs.end());
    }
    flops.resize(get<size_t>(input));
    for (Flop& flop : flops) {
        flop.state = get<uint32_t>(input);
        flop.next = get<uint32_t>(input);
        flop.clear = get<int32_t>(input);
        flop.preset = get<int32_t>(input);
    }
    memories.resize(get<size_t>(input));
    for (Memory& memory : memories) {
        memory.width = get<uint32_t>(input);
        memory.depth = get<uint32_t>(input);
        memory.read_enable = get<uint32_t>(input);
        memory.write_enable = get<int32_t>(input);
        memory.read_address = list(input);
        memory.read_data = list(input);
        memory.write_address = list(input);
        memory.write_data = list(input);
        memory.write_mask = list(input);
        memory.rows.assign(memory.depth, std::vector<uint8_t>(memory.width, 0));
        for (size_t rows = get<size_t>(input); rows-- > 0;) {
            const size_t row = get<size_t>(input);
            memory.rows.at(row) = word(get<std::string>(input), memory.width);
        }
    }
    const uint32_t reset = get<uint32_t>(input);
    const auto high = list(input);  // ready pins of the outputs
    std::vector<Stream> streams(get<size_t>(input));
    for (Stream& stream : streams) {
        stream.valid = get<uint32_t>(input);
        stream.ready = get<uint32_t>(input);
        stream.payload = list(input);
    }
    std::vector<std::vector<uint32_t>> ends(get<size_t>(input));  // an input has ended when all these nets are 1
    for (auto& end : ends) end = list(input);
    const auto taken_when = list(input), outputs = list(input);
    std::vector<Answer> answers(get<size_t>(input));
    for (Answer& answer : answers) {
        answer.when = list(input);
        answer.pins = list(input);
        answer.words.resize(get<size_t>(input));
        for (auto& value : answer.words) value = word(get<std::string>(input), answer.pins.size());
    }

    std::vector<std::pair<size_t, std::vector<uint8_t>>> items;
    size_t to;
    for (std::string text; stimulus >> to >> text;) items.emplace_back(to, word(text, streams.at(to).payload.size()));

    // Nets 0 and 1 are constants: an input pin that nothing reads has no other net, and is never written.
    auto set = [](uint32_t index, uint8_t value) {
        if (index > 1) net[index] = value;
    };
    // Silicon wakes up in any state; reset must cope. The state is random, and the same in every run.
    uint32_t random = 0x9e3779b9;
    for (const Flop& flop : flops) {
        random ^= random << 13, random ^= random >> 17, random ^= random << 5;
        net[flop.state] = random >> 16 & 1;
    }
    for (uint32_t bit : high) set(bit, 1);
    set(reset, 1);
    for (int cycle = 0; cycle < 8; ++cycle) {
        settle();
        edge();
    }
    set(reset, 0);

    std::vector<uint8_t> previous(watched);
    std::vector<uint64_t> toggles(watched), ones(watched), finished(ends.size());
    uint64_t cycle = 0, counted = 0, quiet = 0;
    size_t next = 0;
    for (bool running = true; running; ++cycle) {
        // Each pass is one clock cycle; nets are read when they have settled, just before the next rising edge.
        const size_t current = next < items.size() ? items[next].first : streams.size();
        for (size_t index = 0; index < streams.size(); ++index) set(streams[index].valid, index == current);
        if (current < streams.size())
            for (size_t bit = 0; bit < streams[current].payload.size(); ++bit)
                set(streams[current].payload[bit], items[next].second[bit]);
        settle();
        if (next >= warmup) {
            for (size_t index = 2; index < watched; ++index) {
                toggles[index] += counted && net[index] != previous[index];
                ones[index] += net[index];
                previous[index] = net[index];
            }
            ++counted;
        }
        ++quiet;
        if (current < streams.size() && net[streams[current].ready]) {
            ++next;
            quiet = 0;
        }
        bool taken = false;
        for (uint32_t bit : taken_when) taken |= net[bit];
        if (taken) {
            std::fprintf(result, "out %" PRIu64 " ", cycle);
            for (size_t bit = outputs.size(); bit-- > 0;) std::fputc('0' + net[outputs[bit]], result);
            std::fputc('\n', result);
            quiet = 0;
        }
        running = false;
        for (size_t index = 0; index < ends.size(); ++index) {
            bool ended = true;
            for (uint32_t bit : ends[index]) ended &= net[bit];
            finished[index] += ended;
            running |= finished[index] < wanted;
        }
        if (running && quiet > patience) {
            std::fprintf(result, "stuck after %zu of %zu items, %" PRIu64 " of %" PRIu64 " inferences\n", next,
                         items.size(), finished[0], wanted);
            std::fclose(result);
            return 2;
        }
        std::vector<const std::vector<uint8_t>*> said(answers.size(), nullptr);
        for (size_t index = 0; index < answers.size(); ++index) {
            Answer& answer = answers[index];
            bool asked = false;
            for (uint32_t bit : answer.when) asked |= net[bit];
            if (!asked) continue;
            if (answer.next == answer.words.size()) {
                std::fprintf(result, "stuck: more was asked than the %zu answers recorded\n", answer.next);
                std::fclose(result);
                return 2;
            }
            said[index] = &answer.words[answer.next++];
        }
        edge();
        for (size_t index = 0; index < answers.size(); ++index)
            if (said[index])
                for (size_t bit = 0; bit < said[index]->size(); ++bit) set(answers[index].pins[bit], (*said[index])[bit]);
    }
    for (size_t index = 2; index < watched; ++index)
        std::fprintf(result, "net %" PRIu64 " %" PRIu64 "\n", toggles[index], ones[index]);
    std::fprintf(result, "end %" PRIu64 " %zu\n", counted, next);
    return std::fclose(result) ? 74 : 0;
}
