// Fetch over HTTP with Java, as it comes: java Fetch url|client once URL | many N URL | loop SECONDS URL ...
import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

public class Fetch {
    private static HttpClient client;

    private static int get(String way, String url) throws IOException, InterruptedException {
        if (way.equals("client")) {
            if (client == null) {
                client = HttpClient.newHttpClient();
            }
            return client.send(HttpRequest.newBuilder(URI.create(url)).build(), BodyHandlers.ofString()).statusCode();
        }
        HttpURLConnection connection = (HttpURLConnection) URI.create(url).toURL().openConnection();
        int status = connection.getResponseCode();
        if (status == 200) {
            try (var body = connection.getInputStream()) {
                body.readAllBytes();
            }
        }
        return status;
    }

    public static void main(String[] words) throws Exception {
        String way = words[0];
        int status = 200;
        switch (words[1]) {
            case "once" -> status = get(way, words[2]);
            case "many" -> {
                for (int turn = Integer.parseInt(words[2]); turn > 0; turn--) {
                    get(way, words[3]);
                }
            }
            default -> {
                long end = System.nanoTime() + (long) (1e9 * Double.parseDouble(words[2]));
                while (System.nanoTime() < end) {
                    for (int at = 3; at < words.length; at++) {
                        try {
                            get(way, words[at]);
                        } catch (IOException failure) {
                            // Only the look-ups count.
                        }
                    }
                    Thread.sleep(500);
                }
            }
        }
        System.exit(status == 200 ? 0 : 1);
    }
}
