// Visits the HTTP entry at PORT by the homes' own names with the JDK's client, which asks for h2c.

import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.net.http.WebSocket;
import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;

public class Visit {
    static String port;

    public static void main(String[] args) throws Exception {
        port = args[0];
        HttpClient client = HttpClient.newHttpClient();
        for (String name : new String[] {"pi", "local", "pi", "local", "pi"}) {
            HttpResponse<String> answer = client.send(whoami(name), BodyHandlers.ofString());
            check(answer.version(), HttpClient.Version.HTTP_1_1);
            check(answer.statusCode(), 200);
            check(answer.body(), said(name));
        }

        byte[] content = new byte[1_000_000];
        for (int at = 0; at < content.length; at++) {
            content[at] = (byte) (at * 31);
        }
        byte[] hash = MessageDigest.getInstance("SHA-256").digest(content);
        String wanted = content.length + " " + HexFormat.of().formatHex(hash) + "\n";
        HttpRequest.Builder up = request("http://up.example.com:" + port + "/up");
        HttpRequest whole = up.POST(BodyPublishers.ofByteArray(content)).build();
        check(client.send(whole, BodyHandlers.ofString()).body(), wanted);
        // Of no known length: chunked.
        HttpRequest chunked = up.POST(
                BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(content))).build();
        check(client.send(chunked, BodyHandlers.ofString()).body(), wanted);
        HttpRequest patient = up.POST(BodyPublishers.ofByteArray(content))
                .expectContinue(true).build();
        check(client.send(patient, BodyHandlers.ofString()).body(), wanted);

        var answers = new ArrayList<CompletableFuture<HttpResponse<String>>>();
        for (int at = 0; at < 40; at++) {
            String name = at % 2 == 0 ? "pi" : "local";
            answers.add(client.sendAsync(whoami(name), BodyHandlers.ofString()));
        }
        for (int at = 0; at < answers.size(); at++) {
            String body = answers.get(at).get(60, TimeUnit.SECONDS).body();
            check(body, said(at % 2 == 0 ? "pi" : "local"));
        }

        webSocket(client);
        System.out.println("all is well");
        System.exit(0);
    }

    static HttpRequest.Builder request(String url) {
        return HttpRequest.newBuilder(URI.create(url)).timeout(Duration.ofSeconds(60));
    }

    static HttpRequest whoami(String name) {
        return request("http://" + name + ".example.com:" + port + "/whoami").build();
    }

    static String said(String name) {
        return name + " " + name + ".example.com 127.0.0.1\n";
    }

    static void webSocket(HttpClient client) throws Exception {
        var echo = new CompletableFuture<Integer>();
        var closed = new CompletableFuture<Integer>();
        var listener = new WebSocket.Listener() {
            int heard = 0;

            @Override
            public CompletionStage<?> onBinary(WebSocket socket, ByteBuffer data, boolean last) {
                heard += data.remaining();
                socket.request(1);
                if (last) {
                    echo.complete(heard);
                }
                return null;
            }

            @Override
            public CompletionStage<?> onClose(WebSocket socket, int status, String reason) {
                closed.complete(status);
                return null;
            }

            @Override
            public void onError(WebSocket socket, Throwable error) {
                echo.completeExceptionally(error);
                closed.completeExceptionally(error);
            }
        };
        URI uri = URI.create("ws://pi.example.com:" + port + "/ws");
        WebSocket socket = client.newWebSocketBuilder().buildAsync(uri, listener)
                .get(60, TimeUnit.SECONDS);
        socket.sendBinary(ByteBuffer.allocate(50_000), true).get(60, TimeUnit.SECONDS);
        check(echo.get(60, TimeUnit.SECONDS), 50_000);
        socket.sendClose(WebSocket.NORMAL_CLOSURE, "").get(60, TimeUnit.SECONDS);
        check(closed.get(60, TimeUnit.SECONDS), WebSocket.NORMAL_CLOSURE);
    }

    static void check(Object got, Object wanted) {
        if (!got.equals(wanted)) {
            System.err.println("got " + got + ", wanted " + wanted);
            System.exit(1);
        }
    }
}
