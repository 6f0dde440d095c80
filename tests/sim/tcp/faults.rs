//! What befalls connections from outside: lines that are cut, processes that die, dead lines.

use super::*;

impl World {
    /// Connections between two hosts that both ends still hold.
    pub fn cuttable(&self) -> Vec<ConnId> {
        let whole = |conn: &Conn| {
            conn.hosts[0] != conn.hosts[1]
                && conn.ends.iter().all(|end| end.held && end.stage == Stage::Open)
        };
        (0..self.conns.len()).filter(|id| whole(&self.conns[*id])).collect()
    }

    /// No byte is under way, or waits to be read.
    pub fn is_silent(&self) -> bool {
        let is_empty = |pipe: &Pipe| pipe.bytes.is_empty() && pipe.unacknowledged == 0;
        let is_read = |end: &End| !end.held || end.received.is_empty();
        let mut conns = self.conns.iter();
        conns.all(|conn| conn.pipes.iter().all(is_empty) && conn.ends.iter().all(is_read))
    }

    /// Somebody on the way resets both ends.
    pub fn cut(&mut self, conn: ConnId) {
        for side in [0, 1] {
            if self.conns[conn].ends[side].stage == Stage::Open {
                self.die(conn, side, Some(errno::ECONNRESET));
            }
        }
    }

    /// Every connection of `process` breaks at its own end: with a reset for the peer, or without a
    /// word, so that the peer learns it when it next sends. Its handles stay valid, for dropping.
    pub fn crash(&mut self, process: ProcessId, silent: bool) {
        self.crash_udp(process);
        for conn in 0..self.conns.len() {
            for side in [0, 1] {
                let end = &self.conns[conn].ends[side];
                if !end.held || end.process != process || end.stage == Stage::Dead {
                    continue;
                }
                if silent || end.stage == Stage::Connecting {
                    self.conns[conn].ends[side].stage = Stage::Dead;
                    self.conns[conn].pipes[side].clear();
                    let patience = DEAD_LINE.as_nanos() as u64 + self.rng.below(15_000_000_000);
                    self.after(patience, Happening::Probe(conn, 1 - side));
                } else {
                    self.send_reset(conn, side);
                }
            }
        }
    }

    /// `process` has another address from now on: its connections break at its own end, and what
    /// their peers send reaches nobody.
    pub fn renumber(&mut self, process: ProcessId) {
        for conn in 0..self.conns.len() {
            for side in [0, 1] {
                let end = &self.conns[conn].ends[side];
                if end.held && end.process == process && end.stage == Stage::Open {
                    self.die(conn, side, Some(errno::ECONNRESET));
                    self.conns[conn].is_adrift = true;
                    let patience = DEAD_LINE.as_nanos() as u64 + self.rng.below(15_000_000_000);
                    self.after(patience, Happening::Probe(conn, 1 - side));
                }
            }
        }
    }

    /// Keepalive asks whether the peer of `ends[side]` still knows the connection.
    pub(crate) fn probe(&mut self, conn: ConnId, side: usize) {
        let ends = &self.conns[conn].ends;
        if ends[side].stage == Stage::Open && ends[1 - side].stage == Stage::Dead {
            self.die(conn, side, Some(errno::ECONNRESET));
        }
    }

    /// Keepalive's verdict on everything that crosses `host`'s line.
    pub(crate) fn give_up(&mut self, host: HostId) {
        for conn in 0..self.conns.len() {
            let hosts = self.conns[conn].hosts;
            if hosts[0] == hosts[1] || !hosts.contains(&host) {
                continue;
            }
            for side in [0, 1] {
                let end = &self.conns[conn].ends[side];
                if end.stage == Stage::Open && !end.finished() {
                    self.die(conn, side, Some(errno::ETIMEDOUT));
                }
            }
        }
    }
}
