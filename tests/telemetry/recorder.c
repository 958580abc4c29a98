/* Preloaded into a process: writes down every name that it looks up and every address outside this machine
 * that it turns to, and lets none of them through. The file is named by NETWORK_RECORD. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void record(const char* what, const char* name) {
    const char* path = getenv("NETWORK_RECORD");
    char line[512];
    if (path == NULL) return;
    int length = snprintf(line, sizeof line, "%s %s\n", what, name);
    if (length >= (int)sizeof line) length = sizeof line - 1;
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (file < 0 || write(file, line, (size_t)length) != length) abort();
    close(file);
}

static int is_here(const char* name) {
    unsigned char numeric[sizeof(struct in6_addr)];
    return name == NULL || *name == '\0' || strcmp(name, "localhost") == 0 || inet_pton(AF_INET, name, numeric) == 1 ||
           inet_pton(AF_INET6, name, numeric) == 1;
}

/* 1 where an address lies outside this machine; it is written down then. */
static int leaves(const struct sockaddr* address) {
    char text[INET6_ADDRSTRLEN] = "";
    if (address == NULL) return 0;
    if (address->sa_family == AF_INET) {
        const struct in_addr* in = &((const struct sockaddr_in*)address)->sin_addr;
        unsigned first = ntohl(in->s_addr) >> 24;
        if (first == 127 || first == 0) return 0;
        inet_ntop(AF_INET, in, text, sizeof text);
    } else if (address->sa_family == AF_INET6) {
        const struct in6_addr* in6 = &((const struct sockaddr_in6*)address)->sin6_addr;
        if (IN6_IS_ADDR_LOOPBACK(in6) || IN6_IS_ADDR_UNSPECIFIED(in6)) return 0;
        inet_ntop(AF_INET6, in6, text, sizeof text);
    } else {
        return 0;
    }
    record("address", text);
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int getaddrinfo(const char* node, const char* service, const struct addrinfo* hints, struct addrinfo** found) {
    if (is_here(node)) return REAL(getaddrinfo)(node, service, hints, found);
    record("name", node);
    return EAI_NONAME;
}

struct hostent* gethostbyname(const char* name) {
    if (is_here(name)) return REAL(gethostbyname)(name);
    record("name", name);
    h_errno = HOST_NOT_FOUND;
    return NULL;
}

int gethostbyname_r(const char* name, struct hostent* entry, char* buffer, size_t size, struct hostent** found,
                    int* problem) {
    if (is_here(name)) return REAL(gethostbyname_r)(name, entry, buffer, size, found, problem);
    record("name", name);
    *found = NULL;
    *problem = HOST_NOT_FOUND;
    return 0;
}

int connect(int socket, const struct sockaddr* address, socklen_t length) {
    if (!leaves(address)) return REAL(connect)(socket, address, length);
    errno = ENETUNREACH;
    return -1;
}

ssize_t sendto(int socket, const void* data, size_t size, int flags, const struct sockaddr* address, socklen_t length) {
    if (!leaves(address)) return REAL(sendto)(socket, data, size, flags, address, length);
    errno = ENETUNREACH;
    return -1;
}

ssize_t sendmsg(int socket, const struct msghdr* message, int flags) {
    if (!leaves(message->msg_name)) return REAL(sendmsg)(socket, message, flags);
    errno = ENETUNREACH;
    return -1;
}
