"""A stand-in for systemd: keeps the service's descriptors over its restarts, and knows the queued job.

It does what systemd.service(5) and sd_notify(3) promise: a notify socket, FDSTORE=1 and FDSTOREREMOVE=1
with FDNAME, the stored descriptors passed on from number 3 with LISTEN_FDS, and a `systemctl` in PATH.
"""
import os
import signal
import socket
import subprocess
import threading

LIMIT = 60


class Keeper:
    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder)
        self.ready = threading.Semaphore(0)
        self.kept = {}
        self.lock = threading.Lock()
        self.inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.inbox.bind(os.path.join(folder, "notify"))
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()
        stub = os.path.join(folder, "systemctl")
        with open(stub, "w") as f:
            f.write('#!/bin/sh\nfor last; do :; done\n'
                    'while read -r job; do echo "7 $last $job running"; done < "${0%/*}/job"\n')
        os.chmod(stub, 0o755)
        self.queue("")

    def queue(self, job):
        with open(os.path.join(self.folder, "job"), "w") as f:
            f.write(f"{job}\n" if job else "")

    def listen(self):
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self.inbox, 4096, 8)
            except OSError:
                return
            said = dict(line.split("=", 1) for line in data.decode(errors="replace").splitlines() if "=" in line)
            name = said.get("FDNAME", "stored")
            with self.lock:
                if said.get("FDSTOREREMOVE") == "1" and name in self.kept:
                    os.close(self.kept.pop(name))
                for fd in fds:
                    if said.get("FDSTORE") == "1":
                        if name in self.kept:
                            os.close(self.kept.pop(name))
                        self.kept[name] = fd
                    else:
                        os.close(fd)
            if said.get("READY") == "1":
                self.ready.release()

    def start(self, command, log):
        """Starts the service and waits until it is ready."""
        process = self.launch(command, log)
        if not self.ready.acquire(timeout=LIMIT):
            raise AssertionError("the service did not become ready")
        return process

    def launch(self, command, log, environment=None):
        """Starts the service with what is kept for it."""
        env = dict(os.environ, **(environment or {}), NOTIFY_SOCKET=os.path.join(self.folder, "notify"),
                   PATH=self.folder + ":" + os.environ["PATH"])
        with self.lock:
            fds, names = list(self.kept.values()), list(self.kept)
            # Only the process itself knows its number; bash can move any descriptor.
            moves = "".join(f"exec {3 + n}<&{fd} {fd}<&-; " if fd != 3 + n else "" for n, fd in enumerate(fds))
            if fds:
                env.update(LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=":".join(names))
            return subprocess.Popen(["bash", "-c", moves + 'LISTEN_PID=$$ exec "$@"', "bash", *command],
                                    env=env, pass_fds=fds, stdout=log, stderr=log)

    def end(self, process, how, job="restart"):
        """Ends it as `systemctl JOB` would, or by SIGKILL."""
        self.queue(job if how == signal.SIGTERM else "")
        process.send_signal(how)
        process.wait(LIMIT)
        self.queue("")

    def forget(self):
        """As when the service is stopped: systemd keeps nothing for it then."""
        with self.lock:
            for fd in self.kept.values():
                os.close(fd)
            self.kept.clear()

    def close(self):
        self.inbox.close()
        self.forget()
