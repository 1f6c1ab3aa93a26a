// Lets `pkgtorrent fetch` put a transaction's packages where libdnf5 looks for them before it downloads.
//
// libdnf5 has no hook between the user's yes and the download, so this acts when the goal is resolved, which is before the
// question: where somebody will be asked only if the configuration says so, and then a no leaves nothing behind. All that
// is asked for, placed and shared is `fetch`'s business. Whatever goes wrong here, dnf5 downloads as if this were not
// there: it checks every file that it finds, and an exception must not leave any hook, since it would end dnf5.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <libdnf5/base/base.hpp>
#include <libdnf5/base/transaction.hpp>
#include <libdnf5/base/transaction_package.hpp>
#include <libdnf5/conf/config_parser.hpp>
#include <libdnf5/plugin/iplugin.hpp>
#include <libdnf5/rpm/package.hpp>
#include <libdnf5/transaction/transaction_item_action.hpp>
#include <map>
#include <set>
#include <stdexcept>

using namespace libdnf5;
using namespace std::chrono;

namespace {

constexpr size_t EVENT_LEN_MAX = 64 << 10;   // The longest event has a reason in it, which is one line of text.
constexpr size_t OUTPUT_LEN_MAX = 64 << 20;  // More than any transaction's events: the helper has run wild.
constexpr auto END_GRACE = seconds(1);       // For the helper to end by itself, and again after it was asked to.
constexpr auto OFFER_LIMIT = seconds(2);     // For sharing what dnf5 downloaded: its user is waiting.
constexpr size_t OFFER_FILES_MAX = 1000;     // Far below what a command line can hold.
constexpr uint64_t RPMDB_LEN = 4 << 20;      // What rpm's database takes before there is anything in it...
constexpr uint64_t RPMDB_LEN_PER_PACKAGE = 64 << 10;  // ... and a header of some hundred files, with its journal.

using Words = std::vector<std::string>;

// Divides a command line as a shell does, as far as spaces and quotes go.
Words words(const std::string & text, const char * separators) {
    Words result;
    bool inside = false;
    char quote = 0;
    for (char sign : text) {
        if (!quote && strchr(separators, sign)) {
            inside = false;
            continue;
        }
        if (!inside) {
            result.emplace_back();
            inside = true;
        }
        if (sign == quote) {
            quote = 0;
        } else if (!quote && (sign == '"' || sign == '\'')) {
            quote = sign;
        } else {
            result.back() += sign;
        }
    }
    if (quote) {
        throw std::invalid_argument("a quote is not closed in: " + text);
    }
    return result;
}

Words fields(const std::string & line) {
    Words result(1);
    for (char sign : line) {
        if (sign == '\t') {
            result.emplace_back();
        } else {
            result.back() += sign;
        }
    }
    return result;
}

// A number that is not above the limit; otherwise nothing that one could believe.
std::optional<uint64_t> number(const std::string & text, uint64_t limit) {
    if (text.empty() || text.size() > 19 || text.find_first_not_of("0123456789") != std::string::npos) {
        return {};
    }
    uint64_t value = std::stoull(text);
    return value <= limit ? std::optional(value) : std::nullopt;
}

std::string json(const std::string & text) {
    std::string result = "\"";
    for (unsigned char sign : text) {
        if (sign == '"' || sign == '\\' || sign < 0x20) {
            char escape[8];
            snprintf(escape, sizeof escape, "\\u%04x", sign);
            result += escape;
        } else {
            result += static_cast<char>(sign);
        }
    }
    return result + '"';
}

std::string readable(uint64_t bytes) {
    const char * unit = "B";
    double value = static_cast<double>(bytes);
    for (const char * next : {"kB", "MB", "GB", "TB"}) {
        if (value < 1000) {
            break;
        }
        value /= 1000;
        unit = next;
    }
    char text[32];
    snprintf(text, sizeof text, value < 10 && unit[1] ? "%.1f %s" : "%.0f %s", value, unit);
    return text;
}

// A program that runs beside this one. It never outlives this object.
class Helper {
public:
    explicit Helper(const Words & command, bool is_asked) {
        std::array<int, 2> input{-1, -1}, output{-1, -1};
        // Not a pipe: what its reader does not take must not raise a signal in a program that is not ours.
        if (is_asked && (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, input.data()) != 0 ||
                         pipe2(output.data(), O_CLOEXEC) != 0)) {
            throw std::runtime_error(strerror(errno));
        }
        to = input[0];
        from = output[0];
        std::vector<char *> arguments;
        for (const auto & word : command) {
            arguments.push_back(const_cast<char *>(word.c_str()));
        }
        arguments.push_back(nullptr);
        posix_spawn_file_actions_t files;
        posix_spawn_file_actions_init(&files);
        for (int fd : {0, 1, 2}) {
            int given = !is_asked || fd == 2 ? -1 : fd == 0 ? input[1] : output[1];
            if (given == -1) {
                posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_RDWR, 0);
            } else {
                posix_spawn_file_actions_adddup2(&files, given, fd);
            }
        }
        int error = posix_spawn(&pid, arguments[0], &files, nullptr, arguments.data(), environ);
        posix_spawn_file_actions_destroy(&files);
        close(input[1]);
        close(output[1]);
        if (error) {
            pid = -1;
            close_all();
            throw std::runtime_error(command[0] + ": " + strerror(error));
        }
    }

    ~Helper() {
        end(milliseconds(0));
        close_all();
    }

    Helper(const Helper &) = delete;

    // Hands the request over and each line of the answer to `take`, until that says true. It says nullopt of a line that
    // says nothing new; when there is nothing else for as long as the timeout, the helper is given up.
    template <typename Take>
    void converse(std::string_view request, milliseconds timeout, Take take) {
        std::string rest;
        size_t total = 0;
        auto deadline = steady_clock::now() + timeout;
        while (true) {
            std::array<pollfd, 2> both{{{from, POLLIN, 0}, {to, POLLOUT, 0}}};
            auto left = duration_cast<milliseconds>(deadline - steady_clock::now()).count();
            int ready = left > 0 ? poll(both.data(), to == -1 ? 1 : 2, static_cast<int>(left)) : 0;
            if (ready < 0 && errno == EINTR) {
                continue;
            }
            if (ready <= 0) {
                throw std::runtime_error("nothing new for " + std::to_string(timeout.count() / 1000) + " seconds");
            }
            if (both[1].revents) {
                auto sent = send(to, request.data(), std::min(request.size(), size_t(64 << 10)), MSG_NOSIGNAL | MSG_DONTWAIT);
                // It may have enough; what it says to that counts.
                request.remove_prefix(sent < 0 ? (errno == EAGAIN ? 0 : request.size()) : static_cast<size_t>(sent));
                if (request.empty()) {
                    close(to);
                    to = -1;
                }
            }
            if (!both[0].revents) {
                continue;
            }
            std::array<char, 64 << 10> buffer;
            auto len = read(from, buffer.data(), buffer.size());
            if (len <= 0) {
                throw std::runtime_error("its answer breaks off");
            }
            total += static_cast<size_t>(len);
            rest.append(buffer.data(), static_cast<size_t>(len));
            size_t begin = 0;
            for (size_t end; (end = rest.find('\n', begin)) != std::string::npos; begin = end + 1) {
                std::optional<bool> is_over = take(fields(rest.substr(begin, end - begin)));
                if (is_over == true) {
                    return;
                }
                if (is_over) {
                    deadline = steady_clock::now() + timeout;
                }
            }
            rest.erase(0, begin);
            if (rest.size() > EVENT_LEN_MAX || total > OUTPUT_LEN_MAX) {
                throw std::runtime_error("its answer is too long");
            }
        }
    }

    // Waits at most so long, then ends it: asked first, then by force.
    void end(milliseconds limit) {
        for (int signal : {0, SIGTERM, SIGKILL}) {
            if (pid > 0 && signal) {
                kill(pid, signal);
            }
            auto deadline = steady_clock::now() + (signal ? milliseconds(END_GRACE) : limit);
            while (pid > 0) {
                if (waitpid(pid, nullptr, WNOHANG) != 0) {
                    pid = -1;
                } else if (steady_clock::now() >= deadline) {
                    break;
                } else {
                    usleep(2000);
                }
            }
        }
    }

private:
    void close_all() {
        close(to);
        close(from);
    }

    pid_t pid = -1;
    int to = -1;
    int from = -1;
};

// A package that dnf5 is about to download.
struct Wanted {
    std::string name, url, digest, dest;
    uint64_t size;
    void * bar = nullptr;
    std::optional<uint64_t> done = {};
    bool is_over = false, is_placed = false;
};

class PkgTorrent final : public plugin::IPlugin2_1 {
public:
    PkgTorrent(plugin::IPluginData & data, ConfigParser & parser) : IPlugin2_1(data) {
        try {
            read_options(parser);
        } catch (const std::exception & error) {
            command.clear();
            tell(std::string("not used, its configuration is wrong: ") + error.what());
        }
    }

    PluginAPIVersion get_api_version() const noexcept override { return {.major = 2, .minor = 1}; }
    const char * get_name() const noexcept override { return "pkgtorrent"; }
    plugin::Version get_version() const noexcept override { return {.major = 0, .minor = 1, .micro = 0}; }
    const char * const * get_attributes() const noexcept override { return &NO_ATTRIBUTES; }
    const char * get_attribute(const char *) const noexcept override { return nullptr; }

    void goal_resolved(const base::Transaction & transaction) override {
        guarded([&] {
            if (!service.empty() && !command.empty() && is_to_act(transaction)) {
                fetch(transaction);
            }
        });
    }

    void pre_transaction(const base::Transaction &) override { is_declined = false; }

    // Not before: the store's copies would take the room that the transaction needs.
    void post_transaction(const base::Transaction &) override {
        guarded([&] { offer(); });
    }

    void finish() noexcept override {
        guarded([&] {
            if (is_declined) {
                for (const auto & package : wanted) {
                    if (package.is_placed) {
                        unlink(package.dest.c_str());
                    }
                }
            } else if (is_only_download()) {
                offer();
            }
        });
    }

private:
    template <typename Work>
    void guarded(Work work) noexcept {
        try {
            work();
        } catch (const std::exception & error) {
            try {
                get_base().get_logger()->debug("pkgtorrent: {}", std::string(error.what()));
            } catch (...) {
            }
        } catch (...) {
        }
    }

    void read_options(const ConfigParser & parser) {
        auto option = [&](const char * name, const char * usual) {
            return parser.has_option("main", name) ? parser.get_value("main", name) : std::string(usual);
        };
        service = option("service", "");
        auto interactive = option("interactive", "skip");
        if (interactive != "skip" && interactive != "prefetch") {
            throw std::invalid_argument("interactive = " + interactive + " is neither skip nor prefetch");
        }
        is_prefetching = interactive == "prefetch";
        auto limit = option("timeout", "30");
        size_t read = 0;
        double value = 0;
        try {
            value = std::stod(limit, &read);
        } catch (const std::exception &) {
        }
        if (read != limit.size() || !(value >= 1 && value <= 86400)) {
            throw std::invalid_argument("timeout = " + limit + " is not between a second and a day");
        }
        timeout = milliseconds(static_cast<int64_t>(value * 1000));
        for (const auto & id : words(option("entitled_repos", ""), ", \t")) {
            entitled_repos.insert(id);
        }
        command = words(option("command", "/usr/bin/pkgtorrent"), " \t");
    }

    static bool runs(std::initializer_list<std::string_view> programs) {
        return std::ranges::find(programs, program_invocation_short_name) != programs.end();
    }

    static bool is_command() { return runs({"dnf5", "dnf", "yum", "microdnf"}); }

    bool is_only_download() {
        const auto & config = get_base().get_config();
        return config.get_downloadonly_option().get_value() || !config.get_destdir_option().empty();
    }

    bool is_to_act(const base::Transaction & transaction) {
        const auto & config = get_base().get_config();
        // It says nothing else and changes nothing: the method lacks a const.
        auto problems = const_cast<base::Transaction &>(transaction).get_problems();
        // A call over D-Bus only resolves; whoever made it does not expect it to take long.
        if (problems != GoalProblem::NO_PROBLEM || config.get_assumeno_option().get_value() ||
            config.get_cacheonly_option().get_value() == "all" || runs({"dnf5daemon-server", "packagekitd"})) {
            return false;
        }
        // Programs that are not dnf5 itself ask nobody: what they resolve they download, with rare exceptions.
        bool is_asking = is_command() && !config.get_assumeyes_option().get_value() && !is_only_download();
        is_declined = is_asking;
        return !is_asking || is_prefetching || !isatty(STDIN_FILENO);
    }

    void fetch(const base::Transaction & transaction) {
        uint64_t installed_len = RPMDB_LEN;
        wanted.clear();
        for (const auto & item : transaction.get_transaction_packages()) {
            if (transaction_item_action_is_inbound(item.get_action())) {
                add(item.get_package());
                installed_len += item.get_package().get_install_size() * 105 / 100 + RPMDB_LEN_PER_PACKAGE;
            }
        }
        if (wanted.empty()) {
            return;
        }
        std::string request = "{\"version\":1,\"packages\":[";
        for (const auto & package : wanted) {
            std::filesystem::create_directories(std::filesystem::path(package.dest).parent_path());
            request += &package == &wanted.front() ? "" : ",";
            request += "{\"name\":" + json(package.name) + ",\"url\":" + json(package.url) + ",\"digest\":" +
                       json(package.digest) + ",\"size\":" + std::to_string(package.size) + ",\"dest\":" +
                       json(package.dest) + "}";
        }
        request += "]";
        if (!is_only_download()) {
            std::string root = get_base().get_config().get_installroot_option().get_value();
            request += ",\"reserve\":{\"path\":" + json(root) + ",\"bytes\":" + std::to_string(installed_len) + "}";
        }
        request += "}";
        std::string reason;
        sources = {};
        is_finished = false;
        try {
            auto whole = command;
            whole.insert(whole.end(), {"fetch", "--events", "lines", "--service", service});
            Helper helper(whole, true);
            helper.converse(request, timeout, [&](const Words & event) { return take(event, reason); });
            helper.end(END_GRACE);
            is_finished = true;
        } catch (const std::exception & error) {
            reason = error.what();
        }
        report(reason);
    }

    void add(const rpm::Package & package) {
        static const std::map<rpm::Checksum::Type, const char *> ALGORITHMS{
            {rpm::Checksum::Type::SHA1, "sha1:"},
            {rpm::Checksum::Type::SHA224, "sha224:"},
            {rpm::Checksum::Type::SHA256, "sha256:"},
            {rpm::Checksum::Type::SHA384, "sha384:"},
            {rpm::Checksum::Type::SHA512, "sha512:"}};
        auto repo = package.get_repo();
        auto checksum = package.get_checksum();
        auto algorithm = ALGORITHMS.find(checksum.get_type());
        auto urls = package.get_remote_locations({"http", "https"});
        if (repo->get_type() != repo::Repo::Type::AVAILABLE || algorithm == ALGORITHMS.end() || urls.empty() ||
            (is_entitled(*repo, urls.front()) && !entitled_repos.contains(repo->get_id())) ||
            package.is_available_locally()) {
            return;
        }
        auto dest = std::filesystem::path(package.get_package_path());
        const auto & destdir = get_base().get_config().get_destdir_option();
        if (!destdir.empty()) {
            dest = std::filesystem::path(destdir.get_value()) / dest.filename();
        }
        wanted.push_back(
            {package.get_nevra(), urls.front(), algorithm->second + checksum.get_checksum(),
             std::filesystem::absolute(dest).string(), package.get_download_size()});
    }

    // Whether the repository gives its packages only to those who say who they are.
    static bool is_entitled(repo::Repo & repo, const std::string & url) {
        const auto & config = repo.get_config();
        auto host = url.substr(std::min(url.find("://") + 3, url.size()));
        auto is_set = [](const auto & option) { return !option.empty() && !option.get_value().empty(); };
        return is_set(config.get_sslclientcert_option()) || is_set(config.get_sslclientkey_option()) ||
               is_set(config.get_username_option()) || !repo.get_http_headers().empty() ||
               host.substr(0, host.find('/')).find('@') != std::string::npos;
    }

    // Takes an event in: whether it was the last one; nothing if it says nothing new.
    std::optional<bool> take(const Words & event, std::string & reason) {
        const auto & kind = event[0];
        if (kind == "done") {
            return true;
        }
        if (event.size() < 3) {
            throw std::runtime_error("its answer makes no sense");
        }
        auto index = number(event[1], wanted.size() - 1);
        if (!index || wanted[*index].is_over) {
            return {};
        }
        auto & package = wanted[*index];
        if (kind == "progress") {
            auto done = number(event[2], package.size);
            return done && advance(package, *done) ? std::optional(false) : std::nullopt;
        }
        if (kind == "placed") {
            struct stat status {};
            if (stat(package.dest.c_str(), &status) != 0 || !S_ISREG(status.st_mode) ||
                static_cast<uint64_t>(status.st_size) != package.size) {
                throw std::runtime_error("its answer is wrong");
            }
            package.is_over = package.is_placed = true;
            for (size_t source = 0; source < sources.size() && source + 2 < event.size(); ++source) {
                sources[source] += number(event[source + 2], uint64_t(1) << 50).value_or(0);
            }
            advance(package, package.size);
            end_bar(package, repo::DownloadCallbacks::TransferStatus::SUCCESSFUL, nullptr);
        } else if (kind == "failed") {
            package.is_over = true;
            reason = reason.empty() ? plain(event[2]) : reason;
            end_bar(package, repo::DownloadCallbacks::TransferStatus::ERROR, "left to dnf");
        } else if (kind != "waiting") {
            return {};
        }
        return false;
    }

    static std::string plain(std::string text) {
        text.resize(std::min(text.size(), size_t(200)));
        std::erase_if(text, [](unsigned char sign) { return sign < 0x20 || sign == 0x7f; });
        return text;
    }

    bool advance(Wanted & package, uint64_t done) {
        if (package.done == done) {
            return false;
        }
        auto * callbacks = get_base().get_download_callbacks();
        auto size = static_cast<double>(package.size);
        if (callbacks && !package.done) {
            package.bar = callbacks->add_new_download(nullptr, (package.name + " (pkgtorrent)").c_str(), size);
        }
        package.done = done;
        if (callbacks) {
            callbacks->progress(package.bar, size, static_cast<double>(done));
        }
        return true;
    }

    void end_bar(Wanted & package, repo::DownloadCallbacks::TransferStatus status, const char * text) {
        auto * callbacks = get_base().get_download_callbacks();
        if (callbacks && package.done) {
            callbacks->end(package.bar, status, text);
        }
    }

    void report(const std::string & why) {
        uint64_t size = 0;
        size_t placed = 0;
        for (auto & package : wanted) {
            size += package.is_placed ? package.size : 0;
            placed += package.is_placed;
            if (!package.is_over) {
                end_bar(package, repo::DownloadCallbacks::TransferStatus::ERROR, "left to dnf");
            }
        }
        std::string text = std::to_string(placed) + " of " + std::to_string(wanted.size()) + " packages";
        if (placed) {
            text += " (" + readable(size) + "): " + readable(sources[0]) + " from peers, " + readable(sources[1]) +
                    " from the mirror, " + readable(sources[2]) + " from this host";
        }
        if (placed < wanted.size()) {
            text += std::string(placed ? "; dnf downloads the rest: " : "; dnf downloads them: ") +
                    (why.empty() ? "no reason given" : why);
        }
        tell(text);
    }

    // One line in the log, and for who runs dnf5 by hand. Other programs' output is their own.
    void tell(const std::string & text) {
        get_base().get_logger()->info("pkgtorrent: {}", text);
        if (is_command()) {
            std::cout << "pkgtorrent: " << text << std::endl;
        }
    }

    // Gives what dnf5 has downloaded and checked to the agent, for others to have it from there.
    void offer() {
        auto whole = command;
        whole.insert(whole.end(), {"store", "add", "--quiet"});
        size_t before = whole.size();
        for (const auto & package : wanted) {
            if (is_finished && !package.is_placed && whole.size() < before + OFFER_FILES_MAX && access(package.dest.c_str(), R_OK) == 0) {
                whole.push_back(package.dest);
            }
        }
        wanted.clear();
        if (whole.size() > before) {
            Helper(whole, false).end(OFFER_LIMIT);
        }
    }

    static constexpr const char * NO_ATTRIBUTES = nullptr;

    std::string service;
    Words command;
    milliseconds timeout{30000};
    bool is_prefetching = false;
    std::set<std::string> entitled_repos;

    bool is_declined = false;
    bool is_finished = false;
    std::vector<Wanted> wanted;
    std::array<uint64_t, 3> sources{};
};

std::exception_ptr last_exception;

}  // namespace

extern "C" {

PluginAPIVersion libdnf_plugin_get_api_version() {
    return {.major = 2, .minor = 1};
}

const char * libdnf_plugin_get_name() {
    return "pkgtorrent";
}

plugin::Version libdnf_plugin_get_version() {
    return {.major = 0, .minor = 1, .micro = 0};
}

plugin::IPlugin * libdnf_plugin_new_instance(LibraryVersion, plugin::IPluginData & data, ConfigParser & parser) try {
    return new PkgTorrent(data, parser);
} catch (...) {
    last_exception = std::current_exception();
    return nullptr;
}

void libdnf_plugin_delete_instance(plugin::IPlugin * instance) {
    delete instance;
}

std::exception_ptr * libdnf_plugin_get_last_exception() {
    return &last_exception;
}
}
