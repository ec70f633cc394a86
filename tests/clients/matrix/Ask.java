import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

/** Asks four times, each with a client and thus a connection of its own, and prints a line for each. */
public class Ask {
    public static void main(String[] arguments) throws Exception {
        for (int round = 0; round < 4; round++) {
            HttpRequest request = HttpRequest.newBuilder()
                .uri(URI.create("https://api.openai.com/v1/chat/completions"))
                .header("authorization", "Bearer sk-test")
                .POST(HttpRequest.BodyPublishers.ofString(
                    "{\"model\":\"gpt-4o-mini\",\"messages\":[]}"))
                .build();
            try {
                System.out.println(
                    HttpClient.newHttpClient().send(request, BodyHandlers.ofString()).statusCode());
            } catch (java.io.IOException error) {
                System.out.println(error.getClass().getSimpleName());
            }
        }
    }
}
