/* Stands in for the part of the kernel that a container or a small machine may lack: ESP.
 *
 * Preloaded into libreswan's pluto, it answers the XFRM netlink requests that carry an SA by itself: adding, updating
 * and deleting one succeed, asking for one finds none. All else (policies, SPI allocation, routes, every other socket)
 * reaches the kernel unchanged. The daemon then negotiates IKE and Child SAs as ever; no traffic can flow.
 *
 * It relies on how pluto uses such a socket: one request written, then one answer read.
 *
 *     cc -O1 -Wall -shared -fPIC -o no-kernel-esp.so no-kernel-esp.c -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/xfrm.h>
#include <string.h>
#include <sys/socket.h>

/* The request whose answer is still to be read, one per thread; no descriptor means none. */
static __thread struct {
    int fd, error;
    struct nlmsghdr request;
} answer = { .fd = -1 };

static int option(int fd, int name)
{
    int value = -1;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &size) ? -1 : value;
}

/* Is this a request about an SA? Then keep it, so that the next read gets its answer. */
static int kept(int fd, const void *bytes, size_t size)
{
    struct nlmsghdr header;
    int before = errno, error;

    if (size < sizeof header)
        return 0;
    memcpy(&header, bytes, sizeof header);
    switch (header.nlmsg_type) {
    case XFRM_MSG_NEWSA:
    case XFRM_MSG_UPDSA:
    case XFRM_MSG_DELSA:
        error = 0;
        break;
    case XFRM_MSG_GETSA:
        error = -ESRCH;
        break;
    default:
        return 0;
    }
    int xfrm = header.nlmsg_len == size && option(fd, SO_DOMAIN) == AF_NETLINK && option(fd, SO_PROTOCOL) == NETLINK_XFRM;
    errno = before;
    if (xfrm) {
        answer.fd = fd;
        answer.error = error;
        answer.request = header;
    }
    return xfrm;
}

#define NEXT(function) ((__typeof__(&function))dlsym(RTLD_NEXT, #function))

ssize_t write(int fd, const void *bytes, size_t size)
{
    return kept(fd, bytes, size) ? (ssize_t)size : NEXT(write)(fd, bytes, size);
}

ssize_t send(int fd, const void *bytes, size_t size, int flags)
{
    return kept(fd, bytes, size) ? (ssize_t)size : NEXT(send)(fd, bytes, size, flags);
}

ssize_t sendto(int fd, const void *bytes, size_t size, int flags, const struct sockaddr *to, socklen_t to_size)
{
    return kept(fd, bytes, size) ? (ssize_t)size : NEXT(sendto)(fd, bytes, size, flags, to, to_size);
}

ssize_t recvfrom(int fd, void *bytes, size_t size, int flags, struct sockaddr *from, socklen_t *from_size)
{
    struct {
        struct nlmsghdr header;
        struct nlmsgerr body;
    } reply;
    const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

    if (answer.fd != fd)
        return NEXT(recvfrom)(fd, bytes, size, flags, from, from_size);
    memset(&reply, 0, sizeof reply);
    reply.header.nlmsg_len = sizeof reply;
    reply.header.nlmsg_type = NLMSG_ERROR; /* with error 0 it is the acknowledgement */
    reply.header.nlmsg_seq = answer.request.nlmsg_seq;
    reply.header.nlmsg_pid = answer.request.nlmsg_pid;
    reply.body.error = answer.error;
    reply.body.msg = answer.request;
    answer.fd = -1;
    if (size > sizeof reply)
        size = sizeof reply;
    memcpy(bytes, &reply, size);
    if (from && from_size && *from_size >= sizeof kernel) {
        memcpy(from, &kernel, sizeof kernel);
        *from_size = sizeof kernel;
    }
    return (ssize_t)size;
}
