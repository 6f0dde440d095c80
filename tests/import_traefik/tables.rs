//! Stacks that differ in labels and flags alone.

const AUTH: &str =
    "traefik.http.middlewares.auth.basicauth.users=u:$$apr1$$abcdefgh$$h9FWgUz3n9YxylKLlR5SQ/";
const TO_HTTPS: &str = "traefik.http.middlewares.https.redirectscheme.scheme=https";

/// A name, flags (none: the usual two entry points), short labels, and whether somebody gets to a
/// home or to https by both.
pub(crate) type Table = (&'static str, &'static [&'static str], &'static [&'static str], bool);

pub(crate) fn tables() -> Vec<Table> {
    [rules(), entries(), who_counts(), middlewares(), tls()].concat()
}

fn rules() -> Vec<Table> {
    vec![
        ("a name", &[], &["http.r.rule=Host(`a.x.test`)", "http.r.service=a"], true),
        (
            "two names",
            &[],
            &["http.r.rule=Host(`a.x.test`) || Host(`b.x.test`)", "http.r.service=a"],
            true,
        ),
        (
            "two arguments",
            &[],
            &["http.r.rule=Host(`a.x.test`, `b.x.test`)", "http.r.service=a"],
            false,
        ),
        (
            "two arguments of version 2",
            &[],
            &[
                "http.r.rule=Host(`a.x.test`, `b.x.test`)",
                "http.r.service=a",
                "http.r.rulesyntax=v2",
            ],
            true,
        ),
        ("one label", &[], &["http.r.rule=Host(`*.x.test`)", "http.r.service=a"], true),
        ("a star within", &[], &["http.r.rule=Host(`a.*.test`)", "http.r.service=a"], false),
        ("any name", &[], &["http.r.rule=Host(`*`)", "http.r.service=a"], true),
        ("an address", &[], &["http.r.rule=Host(`1.2.3.4`)", "http.r.service=a"], false),
        (
            "an address beside all",
            &[],
            &[
                "http.r.rule=Host(`1.2.3.4`)",
                "http.r.service=a",
                "http.q.rule=HostRegexp(`.*`)",
                "http.q.service=b",
                "http.q.priority=1",
            ],
            false,
        ),
        (
            "a spelling that is none",
            &[],
            &["http.r.rule=hOsT(`a.x.test`)", "http.r.service=a"],
            false,
        ),
        ("lower case", &[], &["http.r.rule=host(`a.x.test`)", "http.r.service=a"], true),
        ("a broken rule", &[], &["http.r.rule=Host(`a.x.test`", "http.r.service=a"], false),
        (
            "upper case in an expression",
            &[],
            &["http.r.rule=HostRegexp(`^A\\.x\\.test$$`)", "http.r.service=a"],
            false,
        ),
        (
            "an expression anywhere",
            &[],
            &["http.r.rule=HostRegexp(`b\\.x`)", "http.r.service=a"],
            true,
        ),
        (
            "a template in version 3",
            &[],
            &["http.r.rule=HostRegexp(`{s:[a-z]+}.x.test`)", "http.r.service=a"],
            false,
        ),
        (
            "a longer rule goes first",
            &[],
            &[
                "http.r.rule=HostRegexp(`^[a-z0-9-]+\\.x\\.test$$`)",
                "http.r.service=a",
                "http.q.rule=Host(`a.x.test`)",
                "http.q.service=b",
            ],
            true,
        ),
        (
            "a priority goes before",
            &[],
            &[
                "http.r.rule=HostRegexp(`^[a-z0-9-]+\\.x\\.test$$`)",
                "http.r.service=a",
                "http.q.rule=Host(`a.x.test`)",
                "http.q.service=b",
                "http.q.priority=100",
            ],
            true,
        ),
        (
            "wide first, in part",
            &[],
            &[
                "http.r.rule=Host(`*.x.test`) && PathPrefix(`/api`)",
                "http.r.service=a",
                "http.r.priority=100",
                "http.q.rule=Host(`a.x.test`)",
                "http.q.service=b",
            ],
            true,
        ),
        (
            "a path of its own",
            &[],
            &[
                "http.r.rule=Host(`a.x.test`)",
                "http.r.service=a",
                "http.q.rule=Host(`a.x.test`) && PathPrefix(`/api`)",
                "http.q.service=b",
            ],
            true,
        ),
        (
            "a path with a slash",
            &[],
            &[
                "http.r.rule=Host(`a.x.test`)",
                "http.r.service=a",
                "http.q.rule=Host(`a.x.test`) && PathPrefix(`/api/`)",
                "http.q.service=b",
            ],
            true,
        ),
        (
            "a path on the same service",
            &[],
            &[
                "http.r.rule=Host(`a.x.test`)",
                "http.r.service=a",
                "http.q.rule=Host(`a.x.test`) && PathPrefix(`/api`)",
                "http.q.service=a",
            ],
            true,
        ),
        (
            "two paths on one service",
            &[],
            &[
                "http.r.rule=Host(`a.x.test`) && (PathPrefix(`/p`) || PathPrefix(`/q`))",
                "http.r.service=a",
            ],
            true,
        ),
        ("a path alone", &[], &["http.r.rule=PathPrefix(`/api`)", "http.r.service=a"], true),
        (
            "a path that no prefix says, refused within a wide one",
            &[],
            &[
                "http.r.rule=Host(`a.x.test`)",
                "http.r.service=a",
                "http.q.rule=Host(`a.x.test`) && Path(`/api`)",
                "http.q.service=b",
            ],
            false,
        ),
        (
            "who is not",
            &[],
            &[
                "http.r.rule=HostRegexp(`x.test$$`) && !Host(`a.x.test`)",
                "http.r.service=a",
                "http.q.rule=Host(`y.test`)",
                "http.q.service=b",
            ],
            true,
        ),
        (
            "a tie",
            &[],
            &[
                "http.r.rule=Host(`a.x.test`)",
                "http.r.service=a",
                "http.r.priority=7",
                "http.q.rule=HostRegexp(`^a.*$$`)",
                "http.q.service=b",
                "http.q.priority=7",
            ],
            false,
        ),
    ]
}

fn entries() -> Vec<Table> {
    vec![
        (
            "no entry point is named, and one is the default",
            &[
                "--entrypoints.web.address=:80",
                "--entrypoints.lan.address=:8081",
                "--entrypoints.lan.asdefault=true",
            ],
            &["http.r.rule=Host(`a.x.test`)", "http.r.service=a"],
            true,
        ),
        (
            "no entry point is named, and traefik is none of the default",
            &["--entrypoints.web.address=:80"],
            &["http.r.rule=Host(`a.x.test`)", "http.r.service=a"],
            true,
        ),
        (
            "an entry point that is not there",
            &[],
            &["http.r.rule=Host(`a.x.test`)", "http.r.service=a", "http.r.entrypoints=WEB"],
            false,
        ),
        (
            "each name on one of two",
            &["--entrypoints.web.address=:80", "--entrypoints.lan.address=:8081"],
            &[
                "http.r.rule=Host(`a.x.test`)",
                "http.r.service=a",
                "http.r.entrypoints=web",
                "http.q.rule=Host(`b.x.test`)",
                "http.q.service=b",
                "http.q.entrypoints=lan",
            ],
            true,
        ),
        (
            "all is sent to https",
            &[
                "--entrypoints.web.address=:80",
                "--entrypoints.websecure.address=:443",
                "--entrypoints.web.http.redirections.entrypoint.to=websecure",
            ],
            &["http.r.rule=Host(`a.x.test`)", "http.r.service=a", "http.r.entrypoints=web"],
            true,
        ),
        (
            "all but what goes before is sent to https",
            &[
                "--entrypoints.web.address=:80",
                "--entrypoints.websecure.address=:443",
                "--entrypoints.web.http.redirections.entrypoint.to=websecure",
                "--entrypoints.web.http.redirections.entrypoint.priority=20",
            ],
            &[
                "http.r.rule=Host(`a.x.test`)",
                "http.r.service=a",
                "http.r.entrypoints=web",
                "http.r.priority=30",
                "http.q.rule=Host(`b.x.test`)",
                "http.q.service=b",
                "http.q.priority=10",
                "http.q.entrypoints=web",
            ],
            true,
        ),
        (
            "an entry point that asks who they are",
            &["--entrypoints.web.address=:80", "--entrypoints.web.http.middlewares=auth@docker"],
            &["http.r.rule=Host(`a.x.test`)", "http.r.service=a", AUTH],
            false,
        ),
        (
            "an entry point that ends TLS",
            &["--entrypoints.web.address=:80", "--entrypoints.web.http.tls=true"],
            &["http.r.rule=Host(`a.x.test`)", "http.r.service=a"],
            false,
        ),
        (
            "no entry points at all",
            &["--log.level=INFO"],
            &["http.r.rule=Host(`a.x.test`)", "http.r.service=a"],
            false,
        ),
        (
            "a port of its own",
            &["--entrypoints.web.address=:80", "--entrypoints.db.address=:5432"],
            &["tcp.r.rule=HostSNI(`*`)", "tcp.r.service=c", "tcp.r.entrypoints=db"],
            true,
        ),
        (
            "a port of its own beside plain HTTP",
            &["--entrypoints.web.address=:80"],
            &[
                "tcp.r.rule=HostSNI(`*`)",
                "tcp.r.service=c",
                "http.q.rule=Host(`a.x.test`)",
                "http.q.service=a",
            ],
            true,
        ),
        (
            "a port of its own beside TLS",
            &["--entrypoints.both.address=:443"],
            &[
                "tcp.r.rule=HostSNI(`*`)",
                "tcp.r.service=c",
                "tcp.q.rule=HostSNI(`a.x.test`)",
                "tcp.q.service=b",
                "tcp.q.tls.passthrough=true",
            ],
            true,
        ),
        (
            "upper case in flags",
            &["--entryPoints.Web.Address=:80"],
            &["http.r.rule=Host(`a.x.test`)", "http.r.service=a", "http.r.entrypoints=web"],
            false,
        ),
    ]
}

fn who_counts() -> Vec<Table> {
    const CLOSED: &[&str] =
        &["--entrypoints.web.address=:80", "--providers.docker.exposedbydefault=false"];
    const R: &str = "http.r.rule=Host(`a.x.test`)";
    const A: &str = "http.r.service=a";
    vec![
        ("not exposed", CLOSED, &[R, A], false),
        ("exposed", CLOSED, &[R, A, "traefik.enable=true"], true),
        ("exposed by 1", CLOSED, &[R, A, "traefik.enable=1"], true),
        ("exposed by yes", CLOSED, &[R, A, "traefik.enable=yes"], false),
        ("exposed by tRue", CLOSED, &[R, A, "traefik.enable=tRue"], false),
        ("exposed in capitals", CLOSED, &[R, A, "traefik.Enable=TRUE"], true),
        ("exposed in other capitals", CLOSED, &[R, A, "Traefik.enable=true"], false),
        ("switched off", &[], &[R, A, "traefik.enable=F"], false),
        ("switched off by nonsense", &[], &[R, A, "traefik.enable=on"], false),
        ("a label that is none", &[], &[R, A, "http.r.entrypoint=web"], false),
        ("a number that is none", &[], &[R, A, "http.r.priority=high"], false),
        (
            "constraints that are met",
            &[
                "--entrypoints.web.address=:80",
                "--providers.docker.constraints=Label(`zone`, `out`)",
            ],
            &[R, A, "zone=out"],
            true,
        ),
        (
            "constraints that are not",
            &[
                "--entrypoints.web.address=:80",
                "--providers.docker.constraints=Label(`zone`, `out`)",
            ],
            &[R, A, "zone=in"],
            false,
        ),
        ("a service of another spelling", &[], &[R, "http.r.service=A"], false),
        ("a service that is not there", &[], &[R, "http.r.service=z"], false),
        ("a service among several", &[], &[R], false),
        ("names in capitals", &[], &["traefik.HTTP.Routers.R.Rule=Host(`a.x.test`)", A], true),
        (
            "a service that speaks TLS",
            &[],
            &[R, A, "traefik.http.services.a.loadbalancer.server.scheme=https"],
            false,
        ),
        (
            "labels of version 1",
            &[],
            &["traefik.frontend.rule=Host:a.x.test", "traefik.port=5080", "traefik.enable=true"],
            false,
        ),
        (
            "no labels are read",
            &["--entrypoints.web.address=:80", "--providers.docker=false"],
            &[R, A],
            false,
        ),
    ]
}

fn middlewares() -> Vec<Table> {
    const R: &str = "http.r.rule=Host(`a.x.test`)";
    const A: &str = "http.r.service=a";
    vec![
        ("asks who they are", &[], &[R, A, AUTH, "http.r.middlewares=auth"], false),
        (
            "asks by a chain",
            &[],
            &[
                R,
                A,
                AUTH,
                "http.r.middlewares=c",
                "traefik.http.middlewares.c.chain.middlewares=auth",
            ],
            false,
        ),
        (
            "headers",
            &[],
            &[
                R,
                A,
                "http.r.middlewares=h",
                "traefik.http.middlewares.h.headers.customrequestheaders.X-A=b",
            ],
            true,
        ),
        (
            "hosts that are allowed",
            &[],
            &[
                R,
                A,
                "http.r.middlewares=h",
                "traefik.http.middlewares.h.headers.allowedhosts=b.x.test",
            ],
            false,
        ),
        ("a middleware that is not there", &[], &[R, A, "http.r.middlewares=h@file"], false),
        (
            "of two types",
            &[],
            &[R, A, AUTH, "http.r.middlewares=auth", "traefik.http.middlewares.auth.compress=true"],
            false,
        ),
        (
            "to https",
            &[],
            &[R, A, TO_HTTPS, "http.r.middlewares=https", "http.r.entrypoints=web"],
            true,
        ),
        (
            "to another port",
            &[],
            &[
                R,
                A,
                TO_HTTPS,
                "traefik.http.middlewares.https.redirectscheme.port=8443",
                "http.r.middlewares=https",
            ],
            false,
        ),
        (
            "one name to https, and one not",
            &[],
            &[
                R,
                A,
                TO_HTTPS,
                "http.r.middlewares=https",
                "http.r.entrypoints=web",
                "http.q.rule=Host(`b.x.test`)",
                "http.q.service=a",
                "http.q.entrypoints=web",
            ],
            true,
        ),
        (
            "a narrow name that asks, in a wide one that does not",
            &[],
            &[
                "http.r.rule=Host(`admin.x.test`)",
                A,
                AUTH,
                "http.r.middlewares=auth",
                "http.r.priority=100",
                "http.q.rule=Host(`*.x.test`) || Host(`y.test`)",
                "http.q.service=b",
            ],
            true,
        ),
        (
            "a narrow name for nobody, in a wide one",
            &[],
            &[
                "http.r.rule=Host(`admin.x.test`)",
                "http.r.service=noop@internal",
                "http.r.priority=99",
                "http.q.rule=HostRegexp(`^.+\\.x\\.test$$`)",
                "http.q.service=b",
            ],
            false,
        ),
        (
            "an address list",
            &[],
            &[
                R,
                A,
                "http.r.middlewares=l",
                "traefik.http.middlewares.l.ipallowlist.sourcerange=192.0.2.0/24",
            ],
            false,
        ),
        (
            "a path that is cut",
            &[],
            &[R, A, "http.r.middlewares=s", "traefik.http.middlewares.s.stripprefix.prefixes=/api"],
            false,
        ),
    ]
}

fn tls() -> Vec<Table> {
    const T: &str = "tcp.t.rule=HostSNI(`a.x.test`)";
    const B: &str = "tcp.t.service=b";
    const THROUGH: &str = "tcp.t.tls.passthrough=true";
    vec![
        ("passed through", &[], &[T, B, THROUGH, "tcp.t.entrypoints=websecure"], true),
        ("passed through on both", &[], &[T, B, THROUGH], true),
        ("one label by SNI", &[], &["tcp.t.rule=HostSNI(`*.x.test`)", B, THROUGH], true),
        (
            "any by SNI",
            &[],
            &["tcp.t.rule=HostSNI(`*`)", B, THROUGH, "tcp.t.entrypoints=websecure"],
            true,
        ),
        ("ended", &[], &[T, B, "tcp.t.tls=true"], false),
        ("passed through by yes", &[], &[T, B, "tcp.t.tls.passthrough=yes"], false),
        ("a name without TLS", &[], &[T, B], false),
        (
            "a name that Traefik ends, within what it passes through",
            &[],
            &[
                "tcp.t.rule=HostSNI(`*.x.test`) || HostSNI(`y.test`)",
                B,
                THROUGH,
                "tcp.t.entrypoints=websecure",
                "http.r.rule=Host(`a.x.test`)",
                "http.r.service=a",
                "http.r.tls=true",
                "http.r.entrypoints=websecure",
            ],
            true,
        ),
        (
            "all is passed through but what Traefik ends",
            &[],
            &[
                "tcp.t.rule=HostSNI(`*`)",
                B,
                THROUGH,
                "tcp.t.entrypoints=websecure",
                "http.r.rule=PathPrefix(`/api`)",
                "http.r.service=a",
                "http.r.tls=true",
                "http.r.entrypoints=websecure",
            ],
            false,
        ),
        (
            "by SNI and by Host",
            &[],
            &[
                T,
                B,
                THROUGH,
                "tcp.t.entrypoints=websecure",
                "http.r.rule=Host(`a.x.test`)",
                "http.r.service=a",
                "http.r.entrypoints=web",
            ],
            true,
        ),
        (
            "one service for both",
            &[],
            &[
                T,
                B,
                THROUGH,
                "tcp.t.entrypoints=websecure",
                "http.r.rule=Host(`a.x.test`)",
                "http.r.service=b",
                "http.r.entrypoints=web",
            ],
            true,
        ),
        (
            "an address list by SNI",
            &[],
            &[
                T,
                B,
                THROUGH,
                "tcp.t.middlewares=l",
                "traefik.tcp.middlewares.l.ipallowlist.sourcerange=192.0.2.0/24",
            ],
            false,
        ),
        (
            "a header before it",
            &[],
            &[T, B, THROUGH, "traefik.tcp.services.b.loadbalancer.proxyprotocol.version=2"],
            true,
        ),
    ]
}
