// Fills the masks of a text over REST: java Client.java http://127.0.0.1:8501 "The [MASK] sat."
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;

public class Client {
  public static void main(String[] arguments) throws Exception {
    String text = arguments[1].replace("\\", "\\\\").replace("\"", "\\\"");
    String body = "{\"signature_name\": \"serving_default\", \"inputs\": {\"text\": [\"" + text + "\"]}}";
    HttpRequest request =
        HttpRequest.newBuilder(URI.create(arguments[0] + "/v1/models/mlm:predict"))
            .timeout(Duration.ofSeconds(10))
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(body))
            .build();
    HttpResponse<String> answer =
        HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
    if (answer.statusCode() != 200) {
      throw new IllegalStateException(answer.body()); // {"error": "..."} says why
    }
    // "outputs": tokens and scores [text][mask][k], best first; any JSON library reads it.
    System.out.println(answer.body());
  }
}
