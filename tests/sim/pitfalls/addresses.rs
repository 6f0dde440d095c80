//! Who a visitor is: proxies that say it; and who shares the TLS port.

use super::*;

// Addresses.

/// Through a trusted proxy a visitor is who it says, for the home and for the bounds; a proxy that
/// does not say is refused, and nobody else is believed. However the bytes are cut.
#[test]
fn trusted_proxies_are_believed_and_nobody_else() {
    /// Its crowd is the second one.
    const PROXY: &str = "10.0.2.2/32";
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let file = server_config(&[Dialect::Native], true, Ports::One).replacen(
            "[server]\n",
            &format!(
                "[server]\nlimits.max_visitors_per_address = 3\ntrusted_proxies = '{PROXY}'\n"
            ),
            1,
        );
        let mut play = Play::with(seed, Tuning::draw(&mut rng, false), true, FEW, &file);
        play.add_site(0);
        let version = *rng.pick(&["v1", "v2"]);
        let told = format!("proxy_protocol = '{version}'\ntoken =");
        // Datagrams have no header before them.
        let udp = |token: &str| format!("type = \"udp\"\n{token}");
        let config = play.sites[0].config.replace("token =", &told);
        play.sites[0].config = config.replace(&udp(&told), &udp("token ="));
        play.start(0);
        let proxy = play.add_crowd();
        play.run(WARM_UP);

        let start = play.now() + SECOND;
        let mut come = |play: &mut Play, crowd, header: &[u8], home| {
            let id = play.book.borrow().stories.len();
            let opening = client_hello(id, Some("h0.example"), 300, &mut rng);
            let stay = vec![Act::Send(opening.len()), pause(30 * SECOND), Act::Fin];
            let scripts = [eager(stay), eager(vec![Act::Send(2000), Act::Fin])];
            let (ending, header) = (Ending::Both, header.to_vec());
            let (port, witnesses) = (Some(443), Default::default());
            let story = Story { ending, home, port, header, opening, scripts, witnesses };
            play.tell(crowd, HTTPS, start, story)
        };
        let from = |source: &str| {
            let ends = Ends {
                source: source.parse().unwrap(),
                destination: "203.0.113.1:443".parse().unwrap(),
            };
            [Version::V1, Version::V2].map(|version| {
                let mut header = Vec::new();
                proxy_header::write(version, ends, Default::default(), &mut header);
                header
            })
        };
        let mut known = Vec::new();
        for (number, header) in ["192.0.2.1:1", "[2001:db8::1]:2"]
            .iter()
            .flat_map(|source| from(source).map(|header| (source, header)))
        {
            known.push((come(&mut play, proxy, &header, Some(0)), Some(number.parse().unwrap())));
        }
        // By itself, as often as it likes.
        for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"].repeat(3) {
            known.push((come(&mut play, proxy, header, Some(0)), None));
        }
        for _ in 0..3 {
            known.push((come(&mut play, 0, b"", Some(0)), None));
        }
        let crowd = [(); 3].map(|()| from("198.51.100.1:3")).concat();
        let crowd = crowd.iter().map(|header| come(&mut play, proxy, header, Some(0)));
        let crowd = crowd.collect::<Vec<_>>();
        let refused = [
            come(&mut play, proxy, b"", None),
            come(&mut play, proxy, b"PROXY TCP4 192.0.2.1 203.0.113.1 1 65536\r\n", None),
        ];
        play.run(3 * MINUTE);

        for (id, address) in known {
            play.judge(id, Party::Visitor).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
            let [visitor, home] = play.book.borrow().stories[id].witnesses.clone();
            let expected = address.or(visitor.address);
            assert_eq!(home.address, expected, "seed {seed}, story {id}");
            assert!(expected.is_some());
        }
        let began = |id: &StoryId| play.book.borrow().stories[*id].witnesses[1].began;
        assert_eq!(crowd.iter().filter(|id| began(id)).count(), 3, "seed {seed}");
        for id in refused {
            let [visitor, home] = play.book.borrow().stories[id].witnesses.clone();
            assert_eq!((visitor.end, home.began), (Some(End::Reset), false), "seed {seed}");
        }
        // Nobody else's header is one.
        let start = play.now() + SECOND;
        for header in from("192.0.2.1:1") {
            let hello = client_hello(usize::MAX >> 32, Some("h0.example"), 300, &mut rng);
            let bytes = [header, hello].concat();
            let acts = vec![Act::Send(bytes.len())];
            play.stranger(0, HTTPS, start, bytes, acts);
        }
        play.run(MINUTE);
        assert_eq!(play.held_by(play.server).1.buffers, 0, "seed {seed}");
    }
}

/// On the TLS port, who speaks SSH goes to the service for it at once, and who waits for the other
/// side's first word after two seconds, whatever it says then; nobody else does.
#[test]
fn ssh_shares_the_tls_port() {
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let file = server_config(&[Dialect::Native], true, Ports::One).replacen(
            "[server]\n",
            "[server]\nssh_service = 'tcp0'\nssh_wait = 2\n",
            1,
        );
        let mut play = Play::with(seed, Tuning::draw(&mut rng, false), true, FEW, &file);
        play.add_site(0);
        play.start(0);
        play.run(WARM_UP);
        let start = play.now() + SECOND;
        let mut come = |words, first: Duration, home, port| {
            let id = play.book.borrow().stories.len();
            let opening = greeting(id, words);
            let acts = vec![pause(first), Act::Send(opening.len() + 500), Act::Fin];
            let scripts = [eager(acts), eager(vec![Act::Send(2000), Act::Fin])];
            let (ending, header, witnesses) = (Ending::Both, Vec::new(), Default::default());
            let story = Story { ending, home, port, header, opening, scripts, witnesses };
            play.tell(0, HTTPS, start, story)
        };
        let at_home = Some(2222);
        let served = [
            come(b"SSH-2.0-sim", Duration::ZERO, Some(0), at_home),
            come(b"SSH-2.0-sim", SECOND, Some(0), at_home),
            come(b"hello there", 3 * SECOND, Some(0), at_home),
        ];
        let dropped = come(b"hello there", Duration::ZERO, None, None);
        let secure = play.drop_in(0, start);
        play.run(3 * MINUTE);
        for id in served.into_iter().chain([secure]) {
            play.judge(id, Party::Visitor).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        }
        let [visitor, home] = play.book.borrow().stories[dropped].witnesses.clone();
        assert!(visitor.end.is_some() && !home.began, "seed {seed}: {visitor:?}");
    }
}
